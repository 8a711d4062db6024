// Arithmetic of 8-bit blockwise AdamW moments (Dettmers et al., arXiv:2110.02861), for the host
// and, by nvcc, for the device: plain C++17, no ATen. In a block of 256 elements a moment is
// map[code] * absmax; exp_avg has the signed dynamic map, exp_avg_sq the unsigned one
// (dynamic_map.h).
#pragma once

#include <cstdint>

#include "runtime/math/bf16.h"
#include "runtime/math/dynamic_map.h"
#include "runtime/math/float_bits.h"

namespace fttrain {

// The nearest code of x in [-1, 1] by one load. A bucket of the table is all x of one sign that
// agree in exponent and in the leading bits of the significand, so many that the code changes at
// most once inside a bucket: an entry is the code at its beginning (towards zero), and where in it
// the next begins. The unsigned map is twice as fine as the signed one.
template <bool kSigned>
inline constexpr int kBucketShift = kSigned ? 17 : 16;  // significand bits below a bucket's
inline constexpr int32_t kLowestBits = 104 << 23;   // 2^-23: from here to 0 the code is that of 0
inline constexpr int32_t kHighestBits = 127 << 23;  // 1
template <bool kSigned>
inline constexpr int32_t kBuckets = ((kHighestBits - kLowestBits) >> kBucketShift<kSigned>)+1;

struct Int8Tables {
  float exp_avg_map[256];
  float exp_avg_sq_map[256];
  int32_t exp_avg_codes[2 * kBuckets<true>];  // of positive x, then of negative x
  int32_t exp_avg_sq_codes[kBuckets<false>];  // positive x
};

// Code of x = moment / Scale(absmax) by the tables above; any code for NaN.
template <bool kSigned>
FT_HOST_DEVICE uint8_t TableCode(const int32_t* codes, float x) {
  auto magnitude = static_cast<int32_t>(MagnitudeBits(x));
  magnitude = magnitude < kLowestBits ? kLowestBits : magnitude;
  magnitude = magnitude > kHighestBits ? kHighestBits : magnitude;
  const int32_t negative = kSigned ? static_cast<int32_t>(FloatBits(x)) >> 31 : 0;  // 0 or -1
  constexpr int kShift = kBucketShift<kSigned>;
  const int32_t bucket = ((magnitude - kLowestBits) >> kShift) + (negative & kBuckets<kSigned>);
  const int32_t entry = codes[bucket];
  const int32_t next = (magnitude & ((1 << kShift) - 1)) >= (entry >> 8) ? 1 : 0;
  return static_cast<uint8_t>((entry & 0xff) + ((next ^ negative) - negative));
}

// The host's tables. Codes are those of NearestDynamicCode (dynamic_map.h) for every float32 in
// [-1, 1], but that a negative x whose nearest entry is 0 takes the entry below: bitsandbytes' CUDA
// optimizer keeps the sign of exp_avg.
const Int8Tables& HostInt8Tables();

// Raw operands of an update of `blocks` blocks of kInt8Block elements.
struct Int8Operands {
  float* param;
  const float* grad;
  uint8_t* exp_avg;
  uint8_t* exp_avg_sq;
  float* exp_avg_absmax;
  float* exp_avg_sq_absmax;
  Bf16* rounded;  // null: none
  int64_t blocks;
};

// What moments are divided by before their code is looked up. A block of zeros gets codes of zero.
FT_HOST_DEVICE float Scale(float absmax) { return absmax > 0.0f ? absmax : 1.0f; }

}  // namespace fttrain
