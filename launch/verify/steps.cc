#include "launch/verify/runs.h"

#include "absl/strings/str_format.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

// With a record on rank 0. Agrees on errors.
absl::StatusOr<RecordedRun> MakeRecorded(const Job& job, int64_t steps, const std::string& folder,
                                         StepRecord::Contents contents, const Process& process) {
  RecordedRun recorded;
  recorded.declared = Declare(job.task());
  absl::Status made;
  if (process.rank() == 0) {
    auto created = StepRecord::Create(recorded.declared, steps, folder, contents);
    made = created.status();
    if (created.ok()) recorded.record = *std::move(created);
  }
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(made));
  return recorded;
}

absl::StatusOr<std::unique_ptr<Holders>> HoldersOf(const Job& job, const Process& process) {
  return Holders::Create(job.network->declared, job.network->parameters, process);
}

// `said`(metrics) after each step.
template <typename Said>
absl::Status TakeSteps(Job& job, Watcher& watcher, int64_t steps, const Said& said) {
  watcher.OnLoaded();
  Trainer trainer(job);
  for (int64_t step = 0; step < steps; ++step) {
    FT_ASSIGN_OR_RETURN(const StepMetrics metrics, trainer.Step(step));
    said(metrics);
  }
  return absl::OkStatus();
}

// `whose` "of the run".
auto SayStep(const char* whose, int64_t steps) {
  return [=](const StepMetrics& metrics) {
    LogInfo(absl::StrFormat("verify     step %d of %d %s: loss %.7g, %.1f s", metrics.step, steps,
                            whose, metrics.loss, metrics.seconds));
  };
}

// Records what `job` does; `taken`: from where it goes on, if from elsewhere.
absl::StatusOr<RecordedRun> Record(Job& job, int64_t steps, const char* whose,
                                   const std::string& folder, const RecordedRun* taken,
                                   const Process& process) {
  const auto contents =
      taken == nullptr ? StepRecord::Contents::kAll : StepRecord::Contents::kGradients;
  FT_ASSIGN_OR_RETURN(const std::unique_ptr<Holders> holders, HoldersOf(job, process));
  FT_ASSIGN_OR_RETURN(RecordedRun recorded, MakeRecorded(job, steps, folder, contents, process));
  std::optional<Recording> recording;
  if (recorded.record != nullptr) recording.emplace(*recorded.record);
  std::optional<TakenRun> takes;
  if (taken != nullptr) takes.emplace(TakenRun{taken->record.get()});
  Watcher watcher(job, *holders, recording ? &*recording : nullptr, takes);
  FT_RETURN_IF_ERROR(TakeSteps(job, watcher, steps, SayStep(whose, steps)));
  recorded.slices = holders->slices();
  recorded.replicas = watcher.replicas();
  return recorded;
}

}  // namespace

absl::StatusOr<RecordedRun> RecordRun(Job& job, int64_t steps, const std::string& scratch_folder,
                                      const Process& process) {
  return Record(job, steps, "of the run", scratch_folder, nullptr, process);
}

absl::StatusOr<RecordedRun> FollowRun(Job& job, const RecordedRun& recorded, int64_t steps,
                                      const std::string& scratch_folder, const Process& process) {
  return Record(job, steps, "in float32", scratch_folder, &recorded, process);
}

absl::StatusOr<Comparison> CompareRun(Job& job, const RecordedRun& recorded,
                                      const StepRecord* precise, const Tolerances& tolerances,
                                      int64_t steps, const Process& process) {
  FT_ASSIGN_OR_RETURN(const std::unique_ptr<Holders> holders, HoldersOf(job, process));
  Comparer comparer(job, *holders, {recorded.record.get(), &recorded.slices, precise}, tolerances);
  const bool first = process.rank() == 0;
  Watcher watcher(job, *holders, first ? &comparer : nullptr, TakenRun{recorded.record.get()});
  LogInfo(TableHead());
  FT_RETURN_IF_ERROR(TakeSteps(job, watcher, steps, [&](const StepMetrics&) {
    if (!first) return;
    LogInfo(TableLine(comparer.comparison().steps.back(), recorded.replicas));
  }));
  Comparison comparison = comparer.comparison();
  comparison.replicas = recorded.replicas;
  return comparison;
}

}  // namespace fttrain
