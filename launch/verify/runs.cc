#include "launch/verify/runs.h"

#include "absl/strings/str_format.h"
#include "launch/plan/settings.h"
#include "launch/verify/step_comparer.h"
#include "launch/verify/step_recorder.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

// Null but on rank 0. Agrees on errors.
absl::StatusOr<std::unique_ptr<StepRecord>> MakeRecord(const TrainPlan& plan,
                                                       const ParameterSet& declared, int64_t steps,
                                                       StepRecord::Contents contents,
                                                       const Process& process) {
  std::unique_ptr<StepRecord> record;
  absl::Status made;
  if (process.rank() == 0) {
    auto created = StepRecord::Create(declared, steps, plan.scratch_folder, contents);
    made = created.status();
    if (created.ok()) record = *std::move(created);
  }
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(made));
  return record;
}

// Ready to train, with who holds what.
struct Run {
  TrainingRun training;
  std::unique_ptr<Holders> holders;
  MomentStorage moments;

  VerifiedRun Verified(const ParameterSet& declared) const {
    const Network& network = *training.network;
    return {declared, *network.mesh, *network.store, *training.optimizer, *holders, moments};
  }
};

absl::StatusOr<Run> Build(const TrainPlan& plan, const ParameterSet& declared,
                          const Process& process) {
  FT_ASSIGN_OR_RETURN(TrainingRun training, BuildTrainingRun(plan, process));
  FT_ASSIGN_OR_RETURN(std::unique_ptr<Holders> holders,
                      Holders::Create(declared, training.network->parameters, process));
  return Run{std::move(training), std::move(holders), StorageOptionsOf(plan.run).moments};
}

// `said`(metrics) after each step.
template <typename Said>
absl::Status TakeSteps(const TrainPlan& plan, Run& run, StepObserver& observer, int64_t steps,
                       const Said& said) {
  Trainer trainer = MakeTrainer(plan, run.training);
  trainer.Observe(observer);
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

}  // namespace

absl::StatusOr<RecordedRun> RecordRun(const TrainPlan& plan, const ParameterSet& declared,
                                      int64_t steps, const Process& process) {
  FT_ASSIGN_OR_RETURN(Run run, Build(plan, declared, process));
  LogInfo(StartSummary(plan, run.training));
  RecordedRun recorded;
  FT_ASSIGN_OR_RETURN(recorded.record,
                      MakeRecord(plan, declared, steps, StepRecord::Contents::kAll, process));
  StepRecorder recorder(run.Verified(declared), recorded.record.get());
  recorder.OnLoaded();
  FT_RETURN_IF_ERROR(TakeSteps(plan, run, recorder, steps, SayStep("of the run", steps)));
  recorded.slices = run.holders->slices();
  recorded.replicas = recorder.replicas();
  return recorded;
}

absl::StatusOr<std::unique_ptr<StepRecord>> FollowRun(const TrainPlan& plan,
                                                      const ParameterSet& declared,
                                                      const RecordedRun& recorded, int64_t steps,
                                                      const Process& process) {
  FT_ASSIGN_OR_RETURN(Run run, Build(plan, declared, process));
  FT_ASSIGN_OR_RETURN(std::unique_ptr<StepRecord> own,
                      MakeRecord(plan, declared, steps, StepRecord::Contents::kGradients, process));
  StepFollower follower(run.Verified(declared), recorded.record.get(), own.get());
  follower.OnLoaded();
  FT_RETURN_IF_ERROR(TakeSteps(plan, run, follower, steps, SayStep("in float32", steps)));
  return own;
}

absl::StatusOr<Comparison> CompareRun(const TrainPlan& plan, const ParameterSet& declared,
                                      const RecordedRun& recorded, const StepRecord* precise,
                                      const Tolerances& tolerances, int64_t steps,
                                      const Process& process) {
  FT_ASSIGN_OR_RETURN(Run run, Build(plan, declared, process));
  StepComparer comparer(run.Verified(declared), recorded.record.get(), &recorded.slices, tolerances,
                        precise);
  comparer.OnLoaded();
  LogInfo(TableHead());
  FT_RETURN_IF_ERROR(TakeSteps(plan, run, comparer, steps, [&](const StepMetrics&) {
    if (process.rank() > 0) return;
    LogInfo(TableLine(comparer.comparison().steps.back(), recorded.replicas));
  }));
  Comparison comparison = comparer.comparison();
  comparison.replicas = recorded.replicas;
  return comparison;
}

}  // namespace fttrain
