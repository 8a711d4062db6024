// Loops over one block of 8-bit moments: portable, and with AVX2's gathers, which compilers do not
// make of the portable ones. Equal bit by bit.
#pragma once

#include <algorithm>

#include "parallel/optimizer/int8_moments.h"
#include "runtime/math/isa.h"
#if defined(__x86_64__) && defined(__GNUC__)
#include <immintrin.h>
#endif

namespace fttrain {

FT_ALWAYS_INLINE float Absmax(const float* values) {
  uint32_t bits = 0;
  for (int64_t i = 0; i < kInt8Block; ++i) bits = std::max(bits, MagnitudeBits(values[i]));
  return FloatFromBits(bits);
}

struct PortableInt8Loops {
  static void Dequantize(const uint8_t* __restrict codes, const float* __restrict map, float absmax,
                         float* __restrict values) {
    for (int64_t i = 0; i < kInt8Block; ++i) values[i] = map[codes[i]] * absmax;
  }
  template <bool kSigned>
  static void Quantize(const float* __restrict values, const int32_t* __restrict table, float scale,
                       uint8_t* __restrict codes) {
    for (int64_t i = 0; i < kInt8Block; ++i) {
      codes[i] = TableCode<kSigned>(table, values[i] / scale);
    }
  }
};

#if defined(__x86_64__) && defined(__GNUC__)
struct Avx2Int8Loops {
  FT_TARGET_AVX2 static void Dequantize(const uint8_t* codes, const float* map, float absmax,
                                        float* values) {
    const __m256 factor = _mm256_set1_ps(absmax);
    for (int64_t i = 0; i < kInt8Block; i += 8) {
      const __m256i index =
          _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(codes + i)));
      _mm256_storeu_ps(values + i, _mm256_mul_ps(_mm256_i32gather_ps(map, index, 4), factor));
    }
  }

  template <bool kSigned>
  FT_TARGET_AVX2 static void Quantize(const float* values, const int32_t* table, float scale,
                                      uint8_t* codes) {
    const __m256 divisor = _mm256_set1_ps(scale);
    for (int64_t i = 0; i < kInt8Block; i += 32) {
      const __m256i words = _mm256_packus_epi32(Codes<kSigned>(values + i, table, divisor),
                                                Codes<kSigned>(values + i + 8, table, divisor));
      const __m256i more = _mm256_packus_epi32(Codes<kSigned>(values + i + 16, table, divisor),
                                               Codes<kSigned>(values + i + 24, table, divisor));
      // Packing works within halves of a register; this puts the groups of four back in order.
      const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
      const __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packus_epi16(words, more), order);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(codes + i), bytes);
    }
  }

 private:
  // TableCode of eight values, in 32-bit lanes.
  template <bool kSigned>
  FT_TARGET_AVX2 static inline __m256i Codes(const float* values, const int32_t* table,
                                             __m256 divisor) {
    const __m256i bits = _mm256_castps_si256(_mm256_div_ps(_mm256_loadu_ps(values), divisor));
    __m256i magnitude = _mm256_and_si256(bits, _mm256_set1_epi32(0x7fffffff));
    magnitude = _mm256_max_epi32(magnitude, _mm256_set1_epi32(kLowestBits));
    magnitude = _mm256_min_epi32(magnitude, _mm256_set1_epi32(kHighestBits));
    __m256i bucket = _mm256_srli_epi32(_mm256_sub_epi32(magnitude, _mm256_set1_epi32(kLowestBits)),
                                       kBucketShift<kSigned>);
    const __m256i negative = _mm256_srai_epi32(bits, 31);
    if constexpr (kSigned) {
      bucket = _mm256_add_epi32(bucket,
                                _mm256_and_si256(negative, _mm256_set1_epi32(kBuckets<kSigned>)));
    }
    const __m256i entry = _mm256_i32gather_epi32(table, bucket, 4);
    const __m256i offset =
        _mm256_and_si256(magnitude, _mm256_set1_epi32((1 << kBucketShift<kSigned>)-1));
    // -1 where the next code has not begun.
    const __m256i before = _mm256_cmpgt_epi32(_mm256_srli_epi32(entry, 8), offset);
    __m256i next = _mm256_add_epi32(before, _mm256_set1_epi32(1));
    if constexpr (kSigned) {
      next = _mm256_sub_epi32(_mm256_xor_si256(next, negative), negative);
    }
    return _mm256_add_epi32(_mm256_and_si256(entry, _mm256_set1_epi32(0xff)), next);
  }
};
#else
using Avx2Int8Loops = PortableInt8Loops;
#endif

}  // namespace fttrain
