// The kernel of AdamWInt8Update on device memory. Exists only in builds with CUDA.
#pragma once

#include <cstdint>

#include "parallel/optimizer/adamw_math.h"
#include "parallel/optimizer/int8_moments.h"
#include "runtime/math/bf16.h"

namespace fttrain::cuda {

// Raw operands of an update of `blocks` blocks of kInt8Block elements.
struct Int8Operands {
  float* param;
  const float* grad;
  uint8_t* exp_avg;
  uint8_t* exp_avg_sq;
  float* exp_avg_absmax;
  float* exp_avg_sq_absmax;
  Bf16* rounded;  // null: none
  int64_t blocks;
};

// Launches on `stream` (a cudaStream_t) and returns. Everything lies on 16 bytes. A refused launch
// throws std::runtime_error.
void AdamWInt8(const Int8Operands& operands, const Int8Tables* tables,
               const AdamWCoefficients<float>& coefficients, void* stream);

}  // namespace fttrain::cuda
