#pragma once

#include <cstdint>

namespace fttrain {

constexpr int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }
// To the next multiple of b.
constexpr int64_t RoundUp(int64_t a, int64_t b) { return CeilDivide(a, b) * b; }

}  // namespace fttrain
