// The 8-bit dynamic data type (Dettmers et al., arXiv:2110.02861, sec. 2.1), as bitsandbytes'
// create_dynamic_map builds it: 256 ascending float32 values in [-1, 1] (unsigned: [0, 1]), denser
// near zero.
#pragma once

#include <array>
#include <cstdint>

#include "runtime/host_device.h"

namespace fttrain {

// Equal bit for bit to bitsandbytes.functional.create_dynamic_map(signed, 7 or 6 exponent bits, 8).
const std::array<float, 256>& SignedDynamicMap();
const std::array<float, 256>& UnsignedDynamicMap();

// Index of the entry of an ascending map of 256 values nearest to x; x beyond an end takes that
// end, a tie goes the way bitsandbytes' CUDA kernel (dQuantize) decides it. NaN: unspecified.
FT_HOST_DEVICE uint8_t NearestDynamicCode(const float* map, float x) {
  int low = 0, high = 255;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    if (map[middle] <= x) {
      low = middle;
    } else {
      high = middle;
    }
  }
  return static_cast<uint8_t>(x - map[low] <= map[high] - x ? low : high);
}

}  // namespace fttrain
