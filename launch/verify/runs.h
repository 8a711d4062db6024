// The runs of verification, each from its plan to its steps: what is verified, the same in float32
// where the run is in bfloat16, and the reference.
#pragma once

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "launch/run/train_plan.h"
#include "launch/verify/holders.h"
#include "launch/verify/report.h"
#include "launch/verify/step_record.h"

namespace fttrain {

// What is left of the run when its ranks have given it up; `record` on rank 0 alone.
struct RecordedRun {
  std::unique_ptr<StepRecord> record;
  std::vector<std::vector<HeldSlice>> slices;
  std::vector<ReplicaDeviation> replicas;
};

// All of these train `steps` steps in the layout of `plan`, on the ranks of `process`; agree on
// errors; `declared`: the whole model as the plan has it. Collective over the process's world.

absl::StatusOr<RecordedRun> RecordRun(const TrainPlan& plan, const ParameterSet& declared,
                                      int64_t steps, const Process& process);

// From the recorded states; its own gradients, on rank 0.
absl::StatusOr<std::unique_ptr<StepRecord>> FollowRun(const TrainPlan& plan,
                                                      const ParameterSet& declared,
                                                      const RecordedRun& recorded, int64_t steps,
                                                      const Process& process);

// The reference; shows its table as it goes. On rank 0, what the steps differ in. `precise`: of
// FollowRun, or null.
absl::StatusOr<Comparison> CompareRun(const TrainPlan& plan, const ParameterSet& declared,
                                      const RecordedRun& recorded, const StepRecord* precise,
                                      const Tolerances& tolerances, int64_t steps,
                                      const Process& process);

}  // namespace fttrain
