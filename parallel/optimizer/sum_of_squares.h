// Sum of squares in float64, the building block of the gradient norm.
#pragma once

#include <ATen/core/Tensor.h>

namespace fttrain {

// flat [n], float32 or float64, contiguous -> float64 scalar tensor on its device. On the CPU the
// order of additions depends on n alone, not on the thread count. Needs no copy of the size of
// `flat`.
at::Tensor SumOfSquares(const at::Tensor& flat);

}  // namespace fttrain
