// float16 as our .cu files use it, on the host: rounds as the device does; the NaN that rounding
// makes may have other bits.
#pragma once

#include "model/nf4/math.h"

struct __half {
  uint16_t bits;
};
inline float __half2float(__half x) { return fttrain::FloatFromHalf(x.bits); }
inline __half __float2half_rn(float x) { return {fttrain::HalfFromFloat(x)}; }
