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
  // Called before the first and after the last of consecutive steps on one chunk; not collective in
  // themselves, but all ranks of a stage's tp group get the same calls. In between, and only then,
  // the chunk's weights must be there in the form that Forward and Backward use (dequantised,
  // copied from the host, gathered over dp). `next`: the chunk that is acquired after this one's
  // release, -1 for none: what takes time to arrive can be sent for now. By default all weights are
  // always there. No release follows an exception.
  virtual void AcquireChunk(int /*chunk*/, int /*next*/) {}
  virtual void ReleaseChunk(int /*chunk*/) {}
  // Called before a Forward or Backward that a Backward follows directly: what that one needs can
  // be sent for now.
  virtual void BackwardFollows(int /*chunk*/, int /*microbatch*/) {}
  // Sizes and options of what runs hand each other for a microbatch, activations and gradients
  // alike. Asked for where there are several stages.
  virtual MessageSpec Boundary(int microbatch) const = 0;
};

// OK if a stage can do the steps, whatever arrives: the forward of (chunk, microbatch) runs once,
// after that of the chunk before; its backward once, after its forward and the backward of the
// chunk after; every forward has its backward. InvalidArgument names the first step that is not.
absl::Status CheckSchedule(const std::vector<PipelineStep>& steps);

// Chunk c of stage s is the run c * stages + s of the model. Receives are posted ahead, as many as
// the links have places; sends go on while the stage computes, as far as there are places. Every
// stage runs its list of one schedule (Simulate proves that they fit); all ranks of a stage's tp
// group call with the same list. Returns when everything is sent. Throws c10::Error, before any
// work, on a schedule that CheckSchedule refuses; else what the module and the links throw: the
// other stages then wait for ever, so the job must end.
void RunSchedule(const std::vector<PipelineStep>& steps, StageModule& stage, StageLinks& links);
// On the only stage.
void RunSchedule(const std::vector<PipelineStep>& steps, StageModule& stage);

}  // namespace fttrain
