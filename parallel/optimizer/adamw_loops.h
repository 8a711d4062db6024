// The CPU's loops over contiguous elements, for sources that are compiled with
// -O3 -ffp-contract=off (CMakeLists.txt): vectorised, and without fused multiply-adds, so that an
// element's result depends neither on the instruction set nor on whether it falls into a loop's
// tail.
#pragma once

#include <ATen/core/Tensor.h>

#include "parallel/optimizer/adamw_math.h"
#include "runtime/math/bf16.h"
#include "runtime/math/isa.h"

namespace fttrain {

template <typename T>
FT_ALWAYS_INLINE void UpdateLoop(int64_t n, T* __restrict param, const T* __restrict grad,
                                 T* __restrict exp_avg, T* __restrict exp_avg_sq,
                                 const AdamWCoefficients<T> c) {
  for (int64_t i = 0; i < n; ++i) {
    const AdamWElement<T> updated =
        AdamWUpdated(AdamWElement<T>{param[i], exp_avg[i], exp_avg_sq[i]}, grad[i], c);
    param[i] = updated.param;
    exp_avg[i] = updated.exp_avg;
    exp_avg_sq[i] = updated.exp_avg_sq;
  }
}

FT_ALWAYS_INLINE void RoundLoop(int64_t n, const float* __restrict source,
                                Bf16* __restrict rounded) {
  for (int64_t i = 0; i < n; ++i) rounded[i] = Bf16FromFloat(source[i]);
}

// Where a bfloat16 copy goes; null without one.
inline Bf16* RoundedData(const at::Tensor& rounded) {
  return rounded.defined() ? reinterpret_cast<Bf16*>(rounded.data_ptr<at::BFloat16>()) : nullptr;
}

}  // namespace fttrain
