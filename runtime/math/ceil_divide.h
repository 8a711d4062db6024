// Sizes in whole units.
#pragma once

#include <cstdint>

namespace fttrain {

constexpr int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }
// To the next multiple of b.
constexpr int64_t RoundUp(int64_t a, int64_t b) { return CeilDivide(a, b) * b; }

// Of buffers and of what is laid out in them: a cache line, and the widest vector of a CPU.
inline constexpr int64_t kAlignmentBytes = 64;

}  // namespace fttrain
