#include "absl/strings/str_cat.h"
#include "configs/to_yaml.h"
#include "launch/commands/commands.h"
#include "launch/exit_code.h"
#include "launch/plan/bytes.h"
#include "launch/run/metrics.h"
#include "launch/run/output_folder.h"
#include "launch/run/summary.h"
#include "launch/run/train_plan.h"
#include "launch/run/trainer.h"
#include "launch/run/weights.h"
#include "runtime/files/whole_file.h"
#include "runtime/memory/ledger.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

// Before weights are read: the folder is this run's alone, and the result will fit. Rank 0's only.
absl::Status OpenOutput(const TrainPlan& plan, const Process& process,
                        std::unique_ptr<OutputFolder>& output) {
  if (process.rank() != 0) return absl::OkStatus();
  FT_ASSIGN_OR_RETURN(output, OutputFolder::Open(plan.output.folder));
  return output->CheckRoom(ResultBytes(plan.task));
}

// When all is ready to train. What is in scratch files now may have taken the result's room.
absl::Status BeginOutput(const TrainPlan& plan, OutputFolder* output) {
  if (output == nullptr) return absl::OkStatus();
  FT_RETURN_IF_ERROR(output->CheckRoom(ResultBytes(plan.task)));
  FT_ASSIGN_OR_RETURN(const std::string previous, output->KeepEarlierResults());
  if (!previous.empty()) LogInfo(absl::StrCat("output     an earlier run was moved to ", previous));
  return WriteFileAtomically(absl::StrCat(plan.output.folder, "/config.yaml"),
                             config::ToYaml(plan.run));
}

// What of the data no adapter can learn.
absl::Status Warn(const TrainPlan& plan, const Process& process) {
  if (process.rank() != 0) return absl::OkStatus();
  FT_ASSIGN_OR_RETURN(const std::vector<std::string> warnings,
                      FromFile(UntrainedRowWarnings(plan.task, plan.taught)));
  for (const std::string& warning : warnings) LogInfo("warning    " + warning);
  return absl::OkStatus();
}

// The loop. Agrees on what only rank 0 can fail at (the metrics file).
absl::Status RunSteps(const TrainPlan& plan, Job& job, const Process& process) {
  Trainer trainer(job);
  std::unique_ptr<MetricsFile> file;
  std::unique_ptr<Progress> progress;
  absl::Status opened;
  if (process.rank() == 0) {
    auto created = MetricsFile::Create(absl::StrCat(plan.output.folder, "/metrics.jsonl"));
    opened = created.status();
    if (created.ok()) file = std::move(*created);
    progress = std::make_unique<Progress>(plan.task.steps, plan.output.log_steps);
  }
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(opened));
  for (int64_t step = 0; step < plan.task.steps; ++step) {
    FT_ASSIGN_OR_RETURN(const StepMetrics metrics, trainer.Step(step));
    absl::Status written;
    if (file != nullptr) {
      written = file->Append(metrics);
      progress->Show(metrics);
    }
    FT_RETURN_IF_ERROR(process.AgreeOnStatus(written));
  }
  return absl::OkStatus();
}

absl::Status SaveResult(const TrainPlan& plan, const Job& job, const Process& process) {
  const Task& task = plan.task;
  const Network& network = *job.network;
  const bool lora = task.form.adapter.has_value();
  const std::string folder = absl::StrCat(plan.output.folder, lora ? "/adapter" : "/model");
  const absl::Status saved =
      lora ? SaveAdapter(network.parameters, *network.store, network.declared, folder,
                         *task.form.adapter, plan.taught.generation_config)
           : SaveModel(network.parameters, *network.store, network.declared, task.model_path,
                       folder, task.model, task.form.compute, plan.taught.generation_config);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(saved));
  LogInfo(absl::StrCat("saved      ", folder));
  return absl::OkStatus();
}

}  // namespace

absl::Status TrainCommand(const CommandLine& line, const Process& process) {
  const absl::StatusOr<config::LoadedConfig> loaded = ReadRunConfig(line);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(loaded.status()));
  if (line.Has("print_config")) {
    LogInfo(config::ToYaml(loaded->config, config::Comments::kSchema));
    return absl::OkStatus();
  }
  const absl::StatusOr<TrainPlan> plan = MakeTrainPlan(*loaded, process);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(plan.status()));
  std::unique_ptr<OutputFolder> output;  // until the result is saved
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(OpenOutput(*plan, process, output)));
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(Warn(*plan, process)));

  FT_ASSIGN_OR_RETURN(const std::unique_ptr<Job> job,
                      Build(plan->task, plan->layout, plan->inputs, process));
  LogInfo(StartSummary(*job));

  ReleaseFreedMemory();
  ResetMemoryPeaks();
  LogInfo(HeldSummary());
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(BeginOutput(*plan, output.get())));
  const absl::Status trained = RunSteps(*plan, *job, process);
  if (!trained.ok()) process.Barrier();  // between hosts, what a rank has sent ends with its job
  FT_RETURN_IF_ERROR(trained);
  return SaveResult(*plan, *job, process);
}

}  // namespace fttrain
