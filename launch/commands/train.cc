#include <algorithm>
#include <filesystem>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "configs/to_yaml.h"
#include "launch/commands/commands.h"
#include "launch/exit_code.h"
#include "launch/plan/idle.h"
#include "launch/report/run_sinks.h"
#include "launch/run/memory_need.h"
#include "launch/run/output_folder.h"
#include "launch/run/summary.h"
#include "launch/run/train_plan.h"
#include "launch/saving/result.h"
#include "launch/saving/resume.h"
#include "launch/saving/saved_state.h"
#include "launch/saving/saved_steps.h"
#include "runtime/files/whole_file.h"
#include "runtime/memory/ledger.h"
#include "runtime/memory/limit.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

// Before weights are read: the folder is this run's alone, and the result, which rank 0 writes,
// will fit. On rank 0, and on the leaders of other disks.
absl::Status OpenOutput(const TrainPlan& plan, bool leads, const Process& process,
                        std::unique_ptr<OutputFolder>& output) {
  if (!leads || output != nullptr) return absl::OkStatus();
  FT_ASSIGN_OR_RETURN(output, OutputFolder::Open(plan.output.folder));
  return process.rank() == 0 ? CheckRoom(plan, *output) : absl::OkStatus();
}

// When all is ready to train. What is in scratch files now may have taken the result's room. A run
// that goes on leaves all where it is.
absl::Status BeginOutput(const TrainPlan& plan, const Process& process, OutputFolder* output,
                         bool goes_on) {
  if (output == nullptr) return absl::OkStatus();
  if (process.rank() == 0) FT_RETURN_IF_ERROR(CheckRoom(plan, *output));
  if (!goes_on) {
    FT_ASSIGN_OR_RETURN(const std::string previous, output->KeepEarlierResults());
    if (!previous.empty()) {
      LogInfo(absl::StrCat("output     an earlier run was moved to ", previous));
    }
  }
  if (process.rank() != 0) return absl::OkStatus();
  return WriteFileAtomically(absl::StrCat(plan.output.folder, "/config.yaml"),
                             config::ToYaml(plan.run));
}

// What of the data no adapter can learn, and what of the ranks' time is lost.
absl::Status Warn(const TrainPlan& plan, const Process& process) {
  if (process.rank() != 0) return absl::OkStatus();
  FT_ASSIGN_OR_RETURN(const std::vector<std::string> warnings,
                      FromFile(UntrainedRowWarnings(plan.task, plan.taught)));
  for (const std::string& warning : warnings) LogInfo("warning    " + warning);
  if (const std::string idle = IdleWarning(plan.task, plan.layout); !idle.empty()) {
    LogInfo("warning    " + idle);
  }
  return absl::OkStatus();
}

// Without room what was learnt stays in memory while somebody makes some.
absl::Status SaveResult(const TrainPlan& plan, const Job& job, const Process& process) {
  constexpr int64_t kPauseSeconds = 30;
  int64_t left = plan.output.disk_full_seconds;
  while (true) {
    const absl::Status saved = process.AgreeOnStatus(WriteResult(plan, job));
    if (saved.ok()) break;
    if (!absl::IsResourceExhausted(saved) || left <= 0) return saved;
    LogInfo(absl::StrCat("warning    the result could not be saved, it is kept in memory: ",
                         std::string(saved.message()), "; tried again every ", kPauseSeconds,
                         " s, for ", left, " s more (train.disk_full_wait)"));
    const int64_t pause = std::min(left, kPauseSeconds);
    absl::SleepFor(absl::Seconds(pause));
    left -= pause;
  }
  LogInfo(absl::StrCat("saved      ", ResultFolder(plan)));
  return absl::OkStatus();
}

// What is known before anything is built.
struct Start {
  const TrainPlan& plan;
  const RunIdentity& identity;
  Disk disk;
  std::optional<Committed> checkpoint;  // from which the run goes on
};

bool GoesOnInItsFolder(const Start& start) {
  return start.checkpoint && IsIn(start.plan.output.folder, start.checkpoint->path);
}

// Says so where there is nothing left to do. A run whose last checkpoint is there has its result to
// write still, unless it said that it was done. Collective.
bool IsFinished(const Start& start, const Process& process) {
  const TrainPlan& plan = start.plan;
  std::optional<int64_t> steps;
  if (process.rank() == 0 && (plan.output.resume == "auto" || GoesOnInItsFolder(start)) &&
      std::filesystem::exists(ResultFolder(plan))) {
    steps = StepsOfDone(plan.output.folder, DigestOf(start.identity));
  }
  if (!process.AnyRank(steps.has_value())) return false;
  LogInfo(absl::StrCat("finished   this run is done, its ", steps.value_or(0), " steps made ",
                       ResultFolder(plan), "; to train it again: ",
                       plan.output.resume == "auto" ? "train.resume=never" : "another output_dir"));
  return true;
}

absl::Status OpenSinks(const TrainPlan& plan, const Job& job, const Process& process,
                       int64_t steps_done, std::unique_ptr<RunSinks>& sinks) {
  if (process.rank() != 0) return absl::OkStatus();
  FT_ASSIGN_OR_RETURN(sinks, RunSinks::Open(plan, StartSummary(job), steps_done));
  return absl::OkStatus();
}

// The result is that of the best evaluation, where that was asked for. What was learnt last is not
// lost where its checkpoint is. Collective.
absl::Status ReadBest(const Start& start, Job& job, int64_t steps_trained, const Process& process) {
  const std::optional<Evaluations::Best>& best = job.evaluations.best();
  if (!start.plan.output.keeps_best || !best || best->step == steps_trained) {
    return absl::OkStatus();
  }
  FileSystem& files = RealFileSystem();
  const absl::StatusOr<Committed> checkpoint =
      OpenBest(*best, start.plan.output.folder, files, start.disk, process);
  if (!checkpoint.ok()) {
    LogInfo(
        absl::StrCat("warning    the result is what the last step has learnt: the best "
                     "evaluation's checkpoint cannot be read: ",
                     std::string(checkpoint.status().message())));
    return absl::OkStatus();
  }
  SavedState saved(files, *checkpoint);
  FT_RETURN_IF_ERROR(ReadState(job, saved, process));
  LogInfo(absl::StrCat("best       the result is that of step ", best->step,
                       ", whose evaluation had the lowest loss, ", best->loss));
  return absl::OkStatus();
}

// From the step after the checkpoint's, or the first, to the result.
absl::Status TrainFrom(const Start& start, Job& job, StopSignals& signals, RunStatusFile& status,
                       const Process& process) {
  const TrainPlan& plan = start.plan;
  const int64_t steps_done = start.checkpoint ? start.checkpoint->step : 0;
  Saver saver(job, plan, start.identity, RealFileSystem(), start.disk, process);
  std::optional<int64_t> saved;
  if (start.checkpoint) {
    const std::string& from = start.checkpoint->path;
    FT_RETURN_IF_ERROR(GoOnFrom(*start.checkpoint, job, RealFileSystem(), process));
    if (!GoesOnInItsFolder(start)) job.evaluations.BestIsIn(CheckpointsAround(from));
    saver.BeganFrom(steps_done, BegunWith(plan, *start.checkpoint));
    saved = steps_done;
  }
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(status.Begin(steps_done, saved)));
  Control control(&signals, process.rank() == 0 ? plan.output.folder : "");
  std::unique_ptr<RunSinks> sinks;
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(OpenSinks(plan, job, process, steps_done, sinks)));
  const RankMemory held = BeginMemory(process.rank());
  const RunParts parts{plan,    job,    saver,
                       control, status, sinks ? sinks->All() : std::vector<MetricsSink*>(),
                       process};
  FT_RETURN_IF_ERROR(TrainSteps(parts, steps_done));
  const RankMemory memory = WithPeaks(held);
  FT_RETURN_IF_ERROR(ReadBest(start, job, status.step(), process));
  // First what was learnt: where there is no room the others fail, and this waits for some.
  FT_RETURN_IF_ERROR(SaveResult(plan, job, process));
  FT_RETURN_IF_ERROR(WriteMemory(memory, plan.output.folder, process));
  return process.AgreeOnStatus(sinks == nullptr ? absl::OkStatus() : sinks->Flush());
}

}  // namespace

absl::Status TrainCommand(const CommandLine& line, const Process& process) {
  const absl::StatusOr<config::LoadedConfig> loaded = ReadRunConfig(line);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(loaded.status()));
  if (line.Has("print_config")) {
    LogInfo(config::ToYaml(loaded->config, config::Comments::kSchema));
    return absl::OkStatus();
  }
  // One that comes early is heard at the first step's end; one that comes when all is done must not
  // end the process otherwise than the run has: they are there as long as it is.
  StopSignals& signals = *new StopSignals;
  absl::StatusOr<TrainPlan> plan = MakeTrainPlan(*loaded, process);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(plan.status()));
  if (plan->output.saves()) plan->inputs.saving = RehearseSave;
  const absl::StatusOr<RunIdentity> identity = IdentityOf(*plan);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(identity.status()));
  FT_RETURN_IF_ERROR(CheckSameOnAllRanks(*identity, plan->run, process));
  std::unique_ptr<OutputFolder> output;  // until the result is saved
  const bool first = process.rank() == 0;
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(OpenOutput(*plan, first, process, output)));
  Start start{*plan, *identity, {}, {}};
  FT_ASSIGN_OR_RETURN(start.disk, FindDisk(plan->output.folder, process));
  const bool leads = start.disk.leader() == process.rank();
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(OpenOutput(*plan, leads, process, output)));
  FT_ASSIGN_OR_RETURN(start.checkpoint,
                      FindCheckpoint(*plan, *identity, RealFileSystem(), start.disk, process));
  if (IsFinished(start, process)) return absl::OkStatus();
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(Warn(*plan, process)));

  FT_RETURN_IF_ERROR(CheckFits(*plan, process));

  FT_ASSIGN_OR_RETURN(const std::unique_ptr<Job> job,
                      Build(plan->task, plan->layout, plan->inputs, process));
  LogInfo(StartSummary(*job));
  if (job->held_out)
    LogInfo(HeldOutSummary(job->held_out->summary(), plan->task.rows.sequence_len,
                           plan->output.eval_steps));

  ReleaseFreedMemory();
  if (const int64_t limit = plan->output.memory_limit_bytes; limit > 0) {
    LimitMemory(plan->inputs.device, limit);  // loading takes more for a moment
  }
  LogInfo(HeldSummary());
  FT_RETURN_IF_ERROR(
      process.AgreeOnStatus(BeginOutput(*plan, process, output.get(), GoesOnInItsFolder(start))));
  RunStatusFile status(plan->output.folder, process, plan->task.steps, DigestOf(*identity));
  const absl::Status trained = TrainFrom(start, *job, signals, status, process);
  status.End(trained);
  if (!trained.ok()) process.Barrier();  // between hosts, what a rank has sent ends with its job
  return trained;
}

}  // namespace fttrain
