#pragma once

#include <cstdint>

namespace fttrain {

constexpr int64_t CeilDivide(int64_t a, int64_t b) { return (a + b - 1) / b; }

}  // namespace fttrain
