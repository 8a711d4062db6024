// One AdamW update of contiguous elements, the arithmetic of torch.optim.AdamW (adamw_math.h).
#pragma once

#include <ATen/core/Tensor.h>

#include "parallel/optimizer/adamw_math.h"

namespace fttrain {

// param, grad, exp_avg, exp_avg_sq: [n], contiguous, all float32 or all float64, on one device.
// `rounded`, if defined, bfloat16 [n] beside a float32 param, receives param rounded to nearest
// even. An element's result is the same bits whatever its position and the thread count, so shards
// of any size update equally, and on the CPU and on CUDA (there: one kernel, enqueued on the
// current stream). Throws c10::Error on operands that do not match and on other devices.
void AdamWUpdate(at::Tensor param, at::Tensor grad, at::Tensor exp_avg, at::Tensor exp_avg_sq,
                 at::Tensor rounded, const AdamWStep& step);

}  // namespace fttrain
