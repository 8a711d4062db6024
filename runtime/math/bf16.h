// Conversions of bfloat16, as bit patterns. Plain C++17, branch-free, usable on host and device.
#pragma once

#include <cstdint>

#include "runtime/math/float_bits.h"
#include "runtime/math/host_device.h"

namespace fttrain {

FT_HOST_DEVICE float FloatFromBf16(uint16_t bf16) {
  return FloatFromBits(static_cast<uint32_t>(bf16) << 16);
}

// To nearest, ties to even; any NaN becomes the quiet one.
FT_HOST_DEVICE uint16_t Bf16FromFloat(float x) {
  const uint32_t bits = FloatBits(x);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded);
}

}  // namespace fttrain
