// The element arithmetic of AdamW, for the host and, by nvcc, for the device: plain C++17, no ATen.
//   g = grad * grad_scale
//   p *= 1 - lr * weight_decay
//   m += (1 - beta1) * (g - m);  v = beta2 * v + (1 - beta2) * g * g
//   p -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps)
#pragma once

#include <cmath>
#include <cstdint>

#include "runtime/math/bf16.h"
#include "runtime/math/host_device.h"

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

// The step's scalars, derived in float64 and then rounded once, as ATen does.
template <typename T>
struct AdamWCoefficients {
  explicit AdamWCoefficients(const AdamWStep& s)
      : grad_scale(static_cast<T>(s.grad_scale)),
        keep(static_cast<T>(1.0 - s.learning_rate * s.weight_decay)),
        exp_avg_weight(static_cast<T>(1.0 - s.beta1)),
        beta2(static_cast<T>(s.beta2)),
        exp_avg_sq_weight(static_cast<T>(1.0 - s.beta2)),
        sqrt_bias_correction2(
            static_cast<T>(std::sqrt(1.0 - std::pow(s.beta2, static_cast<double>(s.step))))),
        minus_step_size(static_cast<T>(-s.learning_rate /
                                       (1.0 - std::pow(s.beta1, static_cast<double>(s.step))))),
        eps(static_cast<T>(s.eps)) {}
  T grad_scale, keep, exp_avg_weight, beta2, exp_avg_sq_weight, sqrt_bias_correction2,
      minus_step_size, eps;
};

// One element: its value and moments after the step.
template <typename T>
struct AdamWElement {
  T param, exp_avg, exp_avg_sq;
};
template <typename T>
FT_HOST_DEVICE AdamWElement<T> AdamWUpdated(AdamWElement<T> e, T grad,
                                            const AdamWCoefficients<T>& c) {
  const T g = grad * c.grad_scale;
  const T m = e.exp_avg + c.exp_avg_weight * (g - e.exp_avg);
  const T v = e.exp_avg_sq * c.beta2 + c.exp_avg_sq_weight * g * g;
  const T denominator = std::sqrt(v) / c.sqrt_bias_correction2 + c.eps;
  return {e.param * c.keep + c.minus_step_size * m / denominator, m, v};
}

// Raw operands of an update of n elements.
template <typename T>
struct AdamWOperands {
  T* param;
  const T* grad;
  T* exp_avg;
  T* exp_avg_sq;
  Bf16* rounded;  // null: none; of float alone
  int64_t n;
};

}  // namespace fttrain
