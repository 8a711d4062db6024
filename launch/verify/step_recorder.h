// The runs of verification that are recorded: the one that is verified, and one that follows it.
#pragma once

#include <vector>

#include "launch/run/trainer.h"
#include "launch/verify/report.h"
#include "launch/verify/step_record.h"
#include "launch/verify/verified_run.h"

namespace fttrain {

// Records on rank 0, and compares what several ranks hold. Collective over the run's ranks.
class StepRecorder : public StepObserver {
 public:
  // `record`: null on other ranks.
  StepRecorder(const VerifiedRun& run, StepRecord* record) : run_(run), record_(record) {}

  // Before the first step: values as loaded, frozen ones too.
  void OnLoaded();
  void OnGradients(int64_t step, double loss) override;
  void OnUpdated(const StepMetrics& metrics) override;
  // The same on every rank.
  const std::vector<ReplicaDeviation>& replicas() const { return replicas_; }

 private:
  void RecordValues(int64_t steps_done);
  void CompareReplicas(int64_t step, const char* what, const std::vector<uint64_t>& hashes);

  VerifiedRun run_;
  StepRecord* record_;
  std::vector<ReplicaDeviation> replicas_;
};

// A run with ZeRO 0 that takes every step from the recorded run's state, and records what gradients
// it has there: the same run in another dtype. Collective over the run's ranks.
class StepFollower : public StepObserver {
 public:
  // `recorded` and `own` (its gradients): null on ranks other than 0.
  StepFollower(const VerifiedRun& run, const StepRecord* recorded, StepRecord* own)
      : run_(run), recorded_(recorded), own_(own) {}

  void OnLoaded();
  void OnGradients(int64_t step, double loss) override;
  void OnUpdated(const StepMetrics& metrics) override;

 private:
  void TakeValues(int64_t steps_done);

  VerifiedRun run_;
  const StepRecord* recorded_;
  StepRecord* own_;
};

}  // namespace fttrain
