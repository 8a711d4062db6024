// Runs a schedule on this rank's stage of a pipeline.
#pragma once

#include <ATen/core/Tensor.h>

#include "absl/status/status.h"
#include "parallel/pipeline/schedule.h"
#include "parallel/pipeline/stage_links.h"

namespace fttrain {

// What the executor needs of a model: forward and backward of one chunk for one microbatch.
class StageModule {
 public:
  virtual ~StageModule() = default;
  // input: activation of the run of layers before, undefined for the model's first. Returns the
  // activation for the next run, undefined after the last (which keeps its loss); it must not
  // change afterwards.
  virtual at::Tensor Forward(int chunk, int microbatch, at::Tensor input) = 0;
  // doutput: gradient of what Forward returned (undefined for the model's last run). Returns the
  // gradient of `input` (undefined for the first). Frees what Forward saved.
  virtual at::Tensor Backward(int chunk, int microbatch, at::Tensor doutput) = 0;
  // Called before the first of `steps`: everything this stage will be asked for, in order, so that
  // what takes time to arrive can be sent for ahead of its use. A step that is not kept has no
  // Backward: Forward saves nothing.
  virtual void BeginSchedule(const std::vector<PipelineStep>& /*steps*/) {}
  // Sizes and options of what runs hand each other for a microbatch, activations and gradients
  // alike. Asked for where there are several stages.
  virtual MessageSpec Boundary(int microbatch) const = 0;
};

// OK if a stage can do the steps, whatever arrives: the forward of (chunk, microbatch) runs once,
// after that of the chunk before; its backward once, after its forward and the backward of the
// chunk after; every forward that is kept has its backward, and no other. InvalidArgument names the
// first step that is not.
absl::Status CheckSchedule(const std::vector<PipelineStep>& steps);

// Runs this stage's list of `stages`, which has one for each stage and is the same on all (Simulate
// proves that they fit). Chunk c of stage s is the run c * stages + s of the model. Receives are
// posted ahead, as many as the links have places, or, where the links post nothing ahead, when
// their messages are sent (ArrivalsAt); sends go on while the stage computes, as far as there are
// places. Returns when everything is sent. Throws c10::Error, before any work, on a schedule that
// CheckSchedule refuses; else what the module and the links throw: the other stages then wait for
// ever, so the job must end.
void RunSchedule(const PipelineSchedule& stages, StageModule& stage, StageLinks& links);
// On the only stage.
void RunSchedule(const std::vector<PipelineStep>& steps, StageModule& stage);

}  // namespace fttrain
