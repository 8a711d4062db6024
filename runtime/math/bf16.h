// bfloat16 and its conversions. Plain C++17, branch-free, usable on host and device.
#pragma once

#include <cstdint>

#include "runtime/math/float_bits.h"
#include "runtime/math/host_device.h"

namespace fttrain {

// A type of our own: the library's keeps compilers from vectorising loads and stores.
struct Bf16 {
  uint16_t bits;
};

FT_HOST_DEVICE float FloatFromBf16(Bf16 x) {
  return FloatFromBits(static_cast<uint32_t>(x.bits) << 16);
}

// To nearest, ties to even; any NaN becomes the quiet one.
FT_HOST_DEVICE Bf16 Bf16FromFloat(float x) {
  const uint32_t bits = FloatBits(x);
  const uint32_t rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  return {static_cast<uint16_t>((bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc0u : rounded)};
}

}  // namespace fttrain
