// The kernel of AdamWInt8Update on device memory. Exists only in builds with CUDA.
#pragma once

#include "parallel/optimizer/adamw_math.h"
#include "parallel/optimizer/int8_moments.h"

namespace fttrain::cuda {

// Launches on `stream` (a cudaStream_t) and returns. Everything lies on 16 bytes. A refused launch
// throws std::runtime_error.
void AdamWInt8(const Int8Operands& operands, const Int8Tables* tables,
               const AdamWCoefficients<float>& coefficients, void* stream);

}  // namespace fttrain::cuda
