// The runs of verification, each from a built job to its steps: what is verified, the same in
// float32 where the run is in bfloat16, and the reference.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "launch/verify/comparer.h"

namespace fttrain {

// What is left of the run when its ranks have given it up; `record` on rank 0 alone.
struct RecordedRun {
  ParameterSet declared;
  std::unique_ptr<StepRecord> record;
  std::vector<std::vector<HeldSlice>> slices;
  std::vector<ReplicaDeviation> replicas;
};

// All of these train `steps` steps of `job`, on the ranks of `process`, and agree on errors;
// records are files without a name in `scratch_folder`. Collective over the process's world.

absl::StatusOr<RecordedRun> RecordRun(Job& job, int64_t steps, const std::string& scratch_folder,
                                      const Process& process);

// From the recorded states; its own gradients, on rank 0.
absl::StatusOr<RecordedRun> FollowRun(Job& job, const RecordedRun& recorded, int64_t steps,
                                      const std::string& scratch_folder, const Process& process);

// The reference; shows its table as it goes. On rank 0, what the steps differ in. `precise`: of
// FollowRun, or null.
absl::StatusOr<Comparison> CompareRun(Job& job, const RecordedRun& recorded,
                                      const StepRecord* precise, const Tolerances& tolerances,
                                      int64_t steps, const Process& process);

}  // namespace fttrain
