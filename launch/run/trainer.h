// The training step, on one screen.
#pragma once

#include <vector>

#include "launch/run/build.h"
#include "parallel/pipeline/schedule.h"

namespace fttrain {

class Trainer {
 public:
  explicit Trainer(Job& job) : job_(&job) {}  // must outlive the trainer

  // What this stage does in a step.
  std::vector<PipelineStep> Schedule() const;

  // One optimizer step; `step` counts from 0. Collective over the mesh: every rank calls with the
  // same step. Errors, on every rank alike, with parameters untouched: Aborted when loss or
  // gradient norm is not finite, DataLoss when no row of the step has a target.
  absl::StatusOr<StepMetrics> Step(int64_t step);

 private:
  Job* job_;
};

}  // namespace fttrain
