// One AdamW update of contiguous elements, the arithmetic of torch.optim.AdamW (adamw_math.h).
#pragma once

#include <ATen/core/Tensor.h>

#include "parallel/optimizer/adamw_math.h"

namespace fttrain {

// param, grad, exp_avg, exp_avg_sq: [n], contiguous, all float32 or all float64. `rounded`, if
// defined, bfloat16 [n], receives param rounded to nearest even. On the CPU every element's result
// is the same whatever its position and the thread count, so shards of any size update equally.
// Elsewhere as AdamWUpdateAten.
void AdamWUpdate(at::Tensor param, at::Tensor grad, at::Tensor exp_avg, at::Tensor exp_avg_sq,
                 at::Tensor rounded, const AdamWStep& step);

// The same through ATen's fused kernel, any device; overwrites grad with grad * grad_scale.
void AdamWUpdateAten(at::Tensor param, at::Tensor grad, at::Tensor exp_avg, at::Tensor exp_avg_sq,
                     at::Tensor rounded, const AdamWStep& step);

}  // namespace fttrain
