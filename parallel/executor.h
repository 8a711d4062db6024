// Runs a schedule on this rank's stage.
#pragma once

#include <ATen/core/Tensor.h>

#include "absl/status/status.h"
#include "parallel/schedule.h"

namespace fttrain {

// What the executor needs of a model: forward and backward of one chunk for one microbatch.
class StageModule {
 public:
  virtual ~StageModule() = default;
  // input: activation from the previous chunk, undefined for the first chunk of the first stage.
  // Returns the activation for the next chunk, undefined after the last (which keeps its loss).
  virtual at::Tensor Forward(int chunk, int microbatch, at::Tensor input) = 0;
  // doutput: gradient of what Forward returned (undefined after the last chunk). Returns the
  // gradient of `input` (undefined for the first chunk). Frees what Forward saved.
  virtual at::Tensor Backward(int chunk, int microbatch, at::Tensor doutput) = 0;
  // Called before the first and after the last of consecutive steps on one chunk; not collective in
  // themselves, but all ranks of a stage's tp group get the same calls. In between, and only then,
  // the chunk's weights must be there in the form that Forward and Backward use (dequantised,
  // copied from the host, gathered over dp). `next`: the chunk that is acquired after this one's
  // release, -1 for none: what takes time to arrive can be sent for now. By default all weights are
  // always there. No release follows an exception.
  virtual void AcquireChunk(int /*chunk*/, int /*next*/) {}
  virtual void ReleaseChunk(int /*chunk*/) {}
};

// OK if the steps are executable on a single stage: the forward of (chunk, microbatch) runs once,
// after that of the chunk before; its backward once, after its forward and the backward of the
// chunk after; every forward has its backward. InvalidArgument names the first step that is not.
absl::Status CheckSchedule(const std::vector<PipelineStep>& steps);

// One stage: no sends; the first chunk's input and the last chunk's doutput are undefined. All
// ranks of the stage's tp group call with the same schedule. Throws c10::Error, before any work, on
// a schedule that CheckSchedule refuses; else what the module throws.
void RunSchedule(const std::vector<PipelineStep>& steps, StageModule& stage);

}  // namespace fttrain
