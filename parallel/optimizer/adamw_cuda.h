// The kernel of AdamWUpdate on device memory. Exists only in builds with CUDA.
#pragma once

#include "parallel/optimizer/adamw_math.h"

namespace fttrain::cuda {

// T: float or double. Launches one kernel on `stream` (a cudaStream_t) and returns. Fastest where
// everything lies on 16 bytes; the results are the same wherever it lies. A refused launch throws
// std::runtime_error.
template <class T>
void AdamW(const AdamWOperands<T>& operands, const AdamWCoefficients<T>& coefficients,
           void* stream);

}  // namespace fttrain::cuda
