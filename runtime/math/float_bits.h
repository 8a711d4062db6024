// The bits of a float32. Plain C++17, usable on host and device.
#pragma once

#include <cstdint>
#include <cstring>

#include "runtime/math/host_device.h"

namespace fttrain {

FT_HOST_DEVICE uint32_t FloatBits(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof(bits));
  return bits;
}
FT_HOST_DEVICE float FloatFromBits(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof(x));
  return x;
}

// Of |x|: ordered as |x| is, with NaN above infinity, so that a maximum over them shows a NaN.
FT_HOST_DEVICE uint32_t MagnitudeBits(float x) { return FloatBits(x) & 0x7fffffffU; }

}  // namespace fttrain
