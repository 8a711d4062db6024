// bfloat16 as our .cu files use it, on the host: rounds as the device does; the NaN that rounding
// makes may have other bits.
#pragma once

#include "runtime/math/bf16.h"

struct __nv_bfloat16 {
  uint16_t bits;
};
inline float __bfloat162float(__nv_bfloat16 x) { return fttrain::FloatFromBf16({x.bits}); }
inline __nv_bfloat16 __float2bfloat16_rn(float x) { return {fttrain::Bf16FromFloat(x).bits}; }
