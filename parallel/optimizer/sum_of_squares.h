// Sum of squares in float64, the building block of the gradient norm.
#pragma once

#include <ATen/core/Tensor.h>

namespace fttrain {

// Adds the sum of squares of flat [n], float32 or float64, contiguous, to `total`, a float64 scalar
// on its device. The order of additions depends on n alone, not on the thread count or where `flat`
// lies; another one on CUDA, where two kernels are enqueued on the current stream and the host does
// not wait. Needs no copy of the size of `flat`. Throws c10::Error on other tensors and devices.
void AddSumOfSquares(const at::Tensor& flat, const at::Tensor& total);

}  // namespace fttrain
