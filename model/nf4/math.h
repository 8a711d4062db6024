// Element arithmetic of NF4 (nf4.h) on the host and in CUDA kernels: plain C++17, no headers of
// ATen. Results are those of single float32 operations, each rounded: host code that includes this
// is compiled without fused multiply-adds (CMakeLists.txt), device code says so itself.
#pragma once

#include <cstdint>

#include "runtime/math/bf16.h"
#include "runtime/math/float_bits.h"
#include "runtime/math/host_device.h"

namespace fttrain {

// Blocks whose absmax is smaller are scaled by its reciprocal.
constexpr float kNf4SmallestDivisor = 1e-38F;
// The code of zero: what an odd number of codes is padded with.
constexpr uint32_t kNf4ZeroCode = 7;

struct Nf4Table {
  float values[16];      // quantiles of the normal distribution, scaled to [-1, 1]
  float thresholds[15];  // middles of neighbours, in float32: x > thresholds[i] has a code above i
};
FT_HOST_DEVICE constexpr Nf4Table MakeNf4Table() {
  Nf4Table table = {
      {-1.0F, -0.6961928009986877F, -0.5250730514526367F, -0.39491748809814453F,
       -0.28444138169288635F, -0.18477343022823334F, -0.09105003625154495F, 0.0F,
       0.07958029955625534F, 0.16093020141124725F, 0.24611230194568634F, 0.33791524171829224F,
       0.44070982933044434F, 0.5626170039176941F, 0.7229568362236023F, 1.0F},
      {}};
  for (int i = 0; i < 15; ++i) {
    table.thresholds[i] = (table.values[i] + table.values[i + 1]) / 2.0F;
  }
  return table;
}

FT_HOST_DEVICE float MultiplyRounded(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fmul_rn(a, b);
#else
  return a * b;
#endif
}
FT_HOST_DEVICE float AddRounded(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fadd_rn(a, b);
#else
  return a + b;
#endif
}
FT_HOST_DEVICE float DivideRounded(float a, float b) {
#if defined(__CUDA_ARCH__)
  return __fdiv_rn(a, b);
#else
  return a / b;
#endif
}

// The number of thresholds below x; 0 for NaN.
FT_HOST_DEVICE uint32_t Nf4Code(float x, const float* thresholds) {
  uint32_t code = x > thresholds[7] ? 8 : 0;
  code += x > thresholds[code + 3] ? 4 : 0;
  code += x > thresholds[code + 1] ? 2 : 0;
  code += x > thresholds[code] ? 1 : 0;
  return code;
}

// What a whole block's elements are multiplied by, and the short last block's divided by.
FT_HOST_DEVICE float Nf4Divisor(float absmax) {
  return absmax < kNf4SmallestDivisor ? kNf4SmallestDivisor : absmax;
}

// absmax of a block from its 8-bit code's map value.
FT_HOST_DEVICE float Nf4Absmax(float map_value, float group, float offset) {
  return AddRounded(MultiplyRounded(map_value, group), offset);
}

// float16 as bit patterns: to nearest, ties to even; any NaN becomes the quiet one.
FT_HOST_DEVICE uint16_t HalfFromFloat(float x) {
  const uint32_t magnitude = MagnitudeBits(x);
  // Below 2^-14 the last place is 2^-24, as it is of 0.5.
  const float shifted = AddRounded(FloatFromBits(magnitude), 0.5F);
  uint32_t half = MagnitudeBits(shifted) - 0x3f000000U;
  if (magnitude >= 0x38800000U) {
    half = (magnitude - 0x38000000U + 0xfffU + ((magnitude >> 13) & 1U)) >> 13;
  }
  if (magnitude >= 0x477ff000U) half = magnitude > 0x7f800000U ? 0x7e00U : 0x7c00U;
  return static_cast<uint16_t>((FloatBits(x) >> 16 & 0x8000U) | half);
}
FT_HOST_DEVICE float FloatFromHalf(uint16_t half) {
  const uint32_t sign = static_cast<uint32_t>(half & 0x8000U) << 16, magnitude = half & 0x7fffU;
  uint32_t bits = (magnitude << 13) + 0x38000000U;
  if (magnitude < 0x400U) {
    bits = MagnitudeBits(MultiplyRounded(static_cast<float>(magnitude), 1.0F / 16777216.0F));
  }
  if (magnitude >= 0x7c00U) bits = (magnitude << 13) | 0x7f800000U;
  return FloatFromBits(bits | sign);
}

}  // namespace fttrain
