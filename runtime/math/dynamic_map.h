// The 8-bit dynamic data type (Dettmers et al., arXiv:2110.02861, sec. 2.1), as bitsandbytes'
// create_dynamic_map builds it: 256 ascending float32 values in [-1, 1] (unsigned: [0, 1]), denser
// near zero.
#pragma once

#include <array>
#include <cstdint>

#include "runtime/math/host_device.h"

namespace fttrain {

inline constexpr int64_t kInt8Block = 256;  // elements of an 8-bit moment that share a scale

// Equal bit for bit to bitsandbytes.functional.create_dynamic_map(signed, 7, 8): True and False.
const std::array<float, 256>& SignedDynamicMap();
const std::array<float, 256>& UnsignedDynamicMap();

// Index of the entry of an ascending map of 256 values nearest to x, decided by float32 middles of
// neighbours as in bitsandbytes' CUDA kernels (dQuantize, quantize_2D); a tie goes to the even
// index. x beyond an end takes that end; NaN takes 0.
FT_HOST_DEVICE uint8_t NearestDynamicCode(const float* map, float x) {
  int pivot = 127;  // even after the seven steps, its neighbours within [-1, 255]
  for (int step = 64; step > 0; step /= 2) pivot += x > map[pivot] ? step : -step;
  if (x > map[pivot]) {
    return static_cast<uint8_t>(x > (map[pivot + 1] + map[pivot]) * 0.5F ? pivot + 1 : pivot);
  }
  if (pivot == 0) return 0;
  return static_cast<uint8_t>(x < (map[pivot - 1] + map[pivot]) * 0.5F ? pivot - 1 : pivot);
}

// The same without unpredictable branches: the nearest code is the number of thresholds below x.
// thresholds[255] is never reached.
std::array<float, 256> DynamicThresholds(const std::array<float, 256>& map);
FT_HOST_DEVICE uint32_t CodeAbove(const float* thresholds, uint32_t code, float x, uint32_t step) {
  return code + (x > thresholds[code + step - 1] ? 1U : 0U) * step;
}

}  // namespace fttrain
