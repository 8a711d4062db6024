#include "launch/saving/saved_steps.h"

#include <chrono>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "launch/exit_code.h"
#include "launch/run/held_out_loss.h"
#include "launch/run/metrics.h"
#include "launch/run/numbers.h"
#include "launch/run/replica_check.h"
#include "launch/run/samples.h"
#include "launch/run/trainer.h"
#include "launch/saving/grace.h"
#include "runtime/process/check.h"
#include "runtime/process/failpoint.h"
#include "runtime/process/log.h"
#include "runtime/process/status_payload.h"

namespace fttrain {
namespace {

constexpr int kMostFailedSaves = 3;  // in a row

enum class IfLost { kGoOn, kCount, kEnd };  // what a save that failed does to the run

class SavedSteps {
 public:
  explicit SavedSteps(const RunParts& run) : run_(run), trainer_(run.job) {}

  absl::Status Train(int64_t steps_done) {
    const Evaluations& evaluations = run_.job.evaluations;
    for (int64_t step = steps_done; step < run_.plan.task.steps && !evaluations.ShouldStop();
         ++step) {
      FT_ASSIGN_OR_RETURN(StepMetrics metrics, trainer_.Step(step));
      metrics.phases[Phase::kSave] = std::exchange(save_seconds_, 0);
      FT_FAILPOINT("train.step");
      run_.status.SetStep(step + 1);
      const absl::Status told = Tell([&](MetricsSink& sink) { return sink.OnStep(metrics); });
      FT_FAILPOINT("train.told");
      FT_ASSIGN_OR_RETURN(Requests asked, Exchange(told));
      const int64_t check = run_.plan.output.check_replicas_steps;
      if (check > 0 && (step + 1) % check == 0) {
        FT_RETURN_IF_ERROR(CheckReplicas(run_.job, step + 1, run_.process));
      }
      FT_ASSIGN_OR_RETURN(const bool is_best, EvaluateWhatIsDue(step + 1, asked));
      const bool last = step + 1 == run_.plan.task.steps || evaluations.ShouldStop();
      const auto start = std::chrono::steady_clock::now();
      FT_RETURN_IF_ERROR(
          SaveWhatIsDue(step + 1, last, is_best && run_.plan.output.keeps_best, asked));
      save_seconds_ =
          std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      if (asked.stop && !last) return Stopped(step + 1, asked);
    }
    if (evaluations.ShouldStop()) TellStop();
    return absl::OkStatus();
  }

 private:
  // The first error.
  template <typename Say>
  absl::Status Tell(const Say& say) {
    absl::Status told;
    for (MetricsSink* sink : run_.sinks) told.Update(say(*sink));
    return told;
  }

  // One small collective a step: what ranks were asked, whether one has failed, and whether a part
  // of the checkpoint in flight is still being written.
  absl::StatusOr<Requests> Exchange(const absl::Status& told) {
    int64_t words[] = {EncodeRequests(run_.control.Look()), told.ok() ? 0 : 1,
                       run_.saver.Written() ? 0 : 1};
    run_.process.LargestOfRanks(absl::MakeSpan(words));
    if (words[1] != 0) FT_RETURN_IF_ERROR(run_.process.AgreeOnStatus(told));
    all_written_ = words[2] == 0;
    return DecodeRequests(words[0]);
  }

  // Whether an evaluation is of what the run leaves, or when it ends: then a stop waits for it.
  bool EvaluationsDecide() const {
    return run_.plan.output.keeps_best || run_.plan.task.stopping.patience > 0;
  }

  // Whether the loss of what is held out was asked for and is the lowest so far. `asked` may become
  // a stop, for which an evaluation that decides nothing is given up.
  absl::StatusOr<bool> EvaluateWhatIsDue(int64_t steps_done, Requests& asked) {
    const int64_t every = run_.plan.output.eval_steps;
    const bool due = steps_done == run_.plan.task.steps || (every > 0 && steps_done % every == 0);
    Job& job = run_.job;
    if (job.held_out == nullptr || !due) return false;
    absl::Status heard;
    const auto goes_on = [&] {
      if (EvaluationsDecide()) return true;
      if (asked.stop || !heard.ok()) return false;
      const absl::StatusOr<Requests> now = Exchange(absl::OkStatus());
      heard = now.status();
      if (now.ok()) {
        const bool save = asked.save || now->save;
        asked = *now;
        asked.save = save;
      }
      return now.ok() && !now->stop;
    };
    const auto held_out = EvaluateHeldOut(*job.network, *job.held_out, goes_on);
    FT_RETURN_IF_ERROR(heard);
    if (!held_out) {
      LogInfo(absl::StrCat("note       the evaluation after step ", steps_done,
                           " is given up, as the run is asked to stop"));
      return false;
    }
    const bool is_best = job.evaluations.Add(steps_done, held_out->loss);
    FT_RETURN_IF_ERROR(run_.process.AgreeOnStatus(Tell(
        [&](MetricsSink& sink) { return sink.OnEvaluation(steps_done, *held_out, is_best); })));
    if (job.samples != nullptr && !asked.stop) {
      const std::vector<Sample> samples = TakeSamples(*job.network, *job.samples);
      FT_RETURN_IF_ERROR(run_.process.AgreeOnStatus(
          Tell([&](MetricsSink& sink) { return sink.OnSamples(steps_done, samples); })));
    }
    return is_best;
  }

  void TellStop() {
    const Evaluations& evaluations = run_.job.evaluations;
    const auto& best = evaluations.best();
    LogInfo(absl::StrCat(
        "stopped    early: ", Counted(evaluations.in_a_row(), "evaluation"), " in a row ",
        best ? absl::StrCat("without a lower loss than ", best->loss, " after step ", best->step)
             : std::string("whose loss is not finite"),
        " (train.early_stopping_patience)"));
  }

  absl::Status SaveWhatIsDue(int64_t steps_done, bool last, bool best, const Requests& asked) {
    const int64_t every = run_.plan.output.save_steps;
    const bool due = best || (every > 0 && (steps_done % every == 0 || last));
    if (run_.saver.in_flight() && (all_written_ || due || asked.stop || asked.save || last)) {
      FT_RETURN_IF_ERROR(Finish(last ? IfLost::kGoOn : IfLost::kCount));
    }
    if (due || asked.stop || asked.save) {
      // A best one is a wish: without it the run has what its last step learns.
      const bool wish = best && !asked.save && (every == 0 || steps_done % every != 0);
      const IfLost if_lost = asked.stop && !last ? IfLost::kEnd
                             : last || wish      ? IfLost::kGoOn
                                                 : IfLost::kCount;
      trainer_.Rest();
      FT_RETURN_IF_ERROR(Judge(run_.saver.Begin(steps_done), if_lost));
      if (run_.saver.in_flight() && (asked.stop || last)) FT_RETURN_IF_ERROR(Finish(if_lost));
      run_.control.Done(asked);
    }
    return absl::OkStatus();
  }

  absl::Status Finish(IfLost if_lost) {
    trainer_.Rest();
    const absl::Status finished = run_.saver.Finish();
    FT_RETURN_IF_ERROR(Judge(finished, if_lost));
    if (!finished.ok()) return absl::OkStatus();
    failed_saves_ = 0;
    if (run_.process.rank() != 0) return absl::OkStatus();
    const std::string warning = GraceWarning(run_.saver.seconds());
    if (!warning.empty() && !std::exchange(warned_, true)) LogInfo("warning    " + warning);
    const absl::Status told = run_.status.Committed(*run_.saver.committed());
    if (!told.ok()) LogInfo(absl::StrCat("note       ", std::string(told.message())));
    return absl::OkStatus();
  }

  // Of a save that all ranks agree on. One that failed is no reason to end while the next may not,
  // or while there is still the result to save.
  absl::Status Judge(const absl::Status& saved, IfLost if_lost) {
    if (saved.ok()) return saved;
    const bool too_many = ++failed_saves_ >= kMostFailedSaves;
    if (if_lost == IfLost::kEnd || (if_lost == IfLost::kCount && too_many)) {
      return WithPayloadsOf(
          saved, absl::Status(saved.code(), absl::StrCat("no checkpoint could be saved: ",
                                                         std::string(saved.message()))));
    }
    LogInfo(absl::StrCat("warning    a checkpoint could not be saved, training goes on: ",
                         std::string(saved.message())));
    return absl::OkStatus();
  }

  absl::Status Stopped(int64_t steps_done, const Requests& asked) {
    run_.status.SetStoppedBy(asked.by);
    return WithExitCode(absl::CancelledError(absl::StrCat(
                            "stopped by ", asked.by.empty() ? "request" : asked.by, " after step ",
                            steps_done, ", which is saved: ",
                            run_.plan.output.resume == "never" ? "with train.resume: auto the run"
                                                               : "the same command",
                            " goes on from there")),
                        kExitPreempted);
  }

  RunParts run_;
  Trainer trainer_;
  bool all_written_ = false;
  int failed_saves_ = 0;
  bool warned_ = false;      // of a save that takes long
  double save_seconds_ = 0;  // since the last step was told
};

}  // namespace

absl::Status TrainSteps(const RunParts& run, int64_t steps_done) {
  return SavedSteps(run).Train(steps_done);
}

}  // namespace fttrain
