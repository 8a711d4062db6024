// Of grouped_gemm.h, for CUDA C++.
#pragma once

namespace fttrain {

// Products in one call, at most.
inline constexpr int kMostGrouped = 64;

}  // namespace fttrain
