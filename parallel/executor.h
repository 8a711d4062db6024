// Runs a schedule on this rank's stage.
#pragma once

#include <ATen/core/Tensor.h>

#include "parallel/schedule.h"

namespace fttrain {

// What the executor needs of a model: forward and backward of one chunk for one microbatch.
class StageModule {
 public:
  virtual ~StageModule() = default;
  // input: activation from the previous chunk, undefined for the first chunk of the first stage. Returns
  // the activation for the next chunk, undefined after the last (which keeps its loss).
  virtual at::Tensor Forward(int chunk, int microbatch, const at::Tensor& input) = 0;
  // doutput: gradient of what Forward returned (undefined after the last chunk). Returns the gradient of
  // `input` (undefined for the first chunk). Frees what Forward saved.
  virtual at::Tensor Backward(int chunk, int microbatch, const at::Tensor& doutput) = 0;
};

// One stage: no sends; chunk 0 is first and last. Every step of every rank of the stage's tp group calls
// with the same schedule. Throws what the module throws.
void RunSchedule(const std::vector<PipelineStep>& steps, StageModule& stage);

}  // namespace fttrain
