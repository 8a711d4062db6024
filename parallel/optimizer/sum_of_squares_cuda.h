// The kernels of AddSumOfSquares on device memory, which exist only in builds with CUDA.
#pragma once

#include <cstdint>

#include "runtime/math/ceil_divide.h"

namespace fttrain::cuda {

inline constexpr int64_t kSumOfSquaresPart = 1 << 14;  // elements
// Sums of parts that AddSumOfSquares leaves in `parts`.
constexpr int64_t SumOfSquaresParts(int64_t n) { return CeilDivide(n, kSumOfSquaresPart); }

// *total += sum of values[i]^2, i < n, in float64 and in an order that depends on n alone. T: float
// or double. parts: [SumOfSquaresParts(n)], overwritten. Launches two kernels on `stream` (a
// cudaStream_t) and returns. Fastest where the values lie on 16 bytes. A refused launch throws
// std::runtime_error.
template <class T>
void AddSumOfSquares(const T* values, int64_t n, double* parts, double* total, void* stream);

}  // namespace fttrain::cuda
