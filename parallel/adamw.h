// One AdamW update of contiguous elements, the arithmetic of torch.optim.AdamW:
//   g = grad * grad_scale
//   p *= 1 - lr * weight_decay
//   m += (1 - beta1) * (g - m);  v = beta2 * v + (1 - beta2) * g * g
//   p -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
#pragma once

#include <ATen/core/Tensor.h>

namespace fttrain {

struct AdamWStep {
  int64_t step = 1;  // t, from 1
  double learning_rate = 0.0;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.0;
  double grad_scale = 1.0;
};

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
