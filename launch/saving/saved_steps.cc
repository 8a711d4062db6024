#include "launch/saving/saved_steps.h"

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "launch/exit_code.h"
#include "launch/run/metrics.h"
#include "launch/run/replica_check.h"
#include "launch/run/trainer.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"
#include "runtime/process/status_payload.h"

namespace fttrain {
namespace {

constexpr int kMostFailedSaves = 3;  // in a row

class SavedSteps {
 public:
  explicit SavedSteps(const RunParts& run) : run_(run), trainer_(run.job) {}

  absl::Status Train(int64_t steps_done) {
    FT_RETURN_IF_ERROR(OpenMetrics(steps_done));
    for (int64_t step = steps_done; step < run_.plan.task.steps; ++step) {
      FT_ASSIGN_OR_RETURN(const StepMetrics metrics, trainer_.Step(step));
      run_.status.SetStep(step + 1);
      absl::Status told;
      if (file_ != nullptr) {
        told = file_->Append(metrics);
        progress_->Show(metrics);
      }
      FT_ASSIGN_OR_RETURN(const Requests asked, Exchange(told));
      const int64_t check = run_.plan.output.check_replicas_steps;
      if (check > 0 && (step + 1) % check == 0) {
        FT_RETURN_IF_ERROR(CheckReplicas(run_.job, step + 1, run_.process));
      }
      FT_RETURN_IF_ERROR(SaveWhatIsDue(step + 1, asked));
      if (asked.stop && step + 1 < run_.plan.task.steps) return Stopped(step + 1, asked);
    }
    return absl::OkStatus();
  }

 private:
  absl::Status OpenMetrics(int64_t steps_done) {
    absl::Status opened;
    if (run_.process.rank() == 0) {
      auto created =
          MetricsFile::Create(absl::StrCat(run_.plan.output.folder, "/metrics.jsonl"), steps_done);
      opened = created.status();
      if (created.ok()) file_ = std::move(*created);
      progress_ = std::make_unique<Progress>(run_.plan.task.steps, run_.plan.output.log_steps);
    }
    return run_.process.AgreeOnStatus(opened);
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

  absl::Status SaveWhatIsDue(int64_t steps_done, const Requests& asked) {
    const int64_t every = run_.plan.output.save_steps, steps = run_.plan.task.steps;
    const bool last = steps_done == steps;
    const bool due = every > 0 && (steps_done % every == 0 || last);
    if (run_.saver.in_flight() && (all_written_ || due || asked.stop || asked.save || last)) {
      FT_RETURN_IF_ERROR(Finish());
    }
    if (due || asked.stop || asked.save) {
      trainer_.Rest();
      FT_RETURN_IF_ERROR(Judge(run_.saver.Begin(steps_done), asked.stop));
      if (run_.saver.in_flight() && (asked.stop || last)) FT_RETURN_IF_ERROR(Finish(asked.stop));
      run_.control.Done(asked);
    }
    return absl::OkStatus();
  }

  absl::Status Finish(bool must = false) {
    trainer_.Rest();
    const absl::Status finished = run_.saver.Finish();
    FT_RETURN_IF_ERROR(Judge(finished, must));
    if (!finished.ok()) return absl::OkStatus();
    failed_saves_ = 0;
    absl::Status told;
    if (run_.process.rank() == 0) told = run_.status.Committed(*run_.saver.committed());
    return run_.process.AgreeOnStatus(told);
  }

  // Of a save that all ranks agree on. One that failed is no reason to end while the next may not.
  absl::Status Judge(const absl::Status& saved, bool must) {
    if (saved.ok()) return saved;
    if (must || ++failed_saves_ == kMostFailedSaves) {
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
                            steps_done, ", which is saved: the same command goes on from there")),
                        kExitPreempted);
  }

  RunParts run_;
  Trainer trainer_;
  std::unique_ptr<MetricsFile> file_;   // rank 0's
  std::unique_ptr<Progress> progress_;  // rank 0's
  bool all_written_ = false;
  int failed_saves_ = 0;
};

}  // namespace

absl::Status TrainSteps(const RunParts& run, int64_t steps_done) {
  return SavedSteps(run).Train(steps_done);
}

}  // namespace fttrain
