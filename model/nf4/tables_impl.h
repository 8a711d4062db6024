// BlockTable (nf4/kernels_impl.h) in registers, for AVX2 and AVX-512: included once by
// nf4/kernels_impl.h inside its namespace. Eight codes of a 32-bit word, low byte first and the
// first of two in the high nibble, are brought to the low bits of eight lanes by shifts; the bits
// above are left, as a permute does not look at them.

template <>
struct BlockTable<float> {
#if defined(__AVX512F__)
  static constexpr int kStep = 16;
  __m512 values;
  FT_INLINE BlockTable(float absmax, Dtype rounding)
      : values((__m512)BlockValues(0, absmax, rounding)) {}
  template <bool kStream>
  FT_INLINE void Step(const uint8_t* codes, float* out) const {
    int32_t words[2];
    __builtin_memcpy(words, codes, sizeof(words));
    const __m512i shifts =
        _mm512_setr_epi32(4, 0, 12, 8, 20, 16, 28, 24, 4, 0, 12, 8, 20, 16, 28, 24);
    const __m512i both = _mm512_mask_set1_epi32(_mm512_set1_epi32(words[0]), 0xff00, words[1]);
    const __m512i index = _mm512_maskz_srlv_epi32(0xffff, both, shifts);
    const __m512 result = _mm512_maskz_permutexvar_ps(0xffff, index, values);
    if (kStream) {
      _mm512_stream_ps(out, result);
    } else {
      _mm512_storeu_ps(out, result);
    }
  }
#else
  static constexpr int kStep = 8;
  __m256 low, high;
  FT_INLINE BlockTable(float absmax, Dtype rounding)
      : low((__m256)BlockValues(0, absmax, rounding)),
        high((__m256)BlockValues(1, absmax, rounding)) {}
  template <bool kStream>
  FT_INLINE void Step(const uint8_t* codes, float* out) const {
    int32_t word;
    __builtin_memcpy(&word, codes, sizeof(word));
    const __m256i shifts = _mm256_setr_epi32(4, 0, 12, 8, 20, 16, 28, 24);
    const __m256i index = _mm256_srlv_epi32(_mm256_set1_epi32(word), shifts);
    // The code's top bit chooses between the halves.
    const __m256 result = _mm256_blendv_ps(_mm256_permutevar8x32_ps(low, index),
                                           _mm256_permutevar8x32_ps(high, index),
                                           (__m256)_mm256_slli_epi32(index, 28));
    if (kStream) {
      _mm256_stream_ps(out, result);
    } else {
      _mm256_storeu_ps(out, result);
    }
  }
#endif
};

FT_INLINE Uint16Vector ResultBits(const FloatVector& v, const Bf16*) { return RoundToBf16(v); }
FT_INLINE Uint16Vector ResultBits(const FloatVector& v, const Half*) { return RoundToHalf(v); }

// Results of 16 bits.
template <class Out>
struct WordTable {
  static constexpr int kStep = 32;
#if defined(__AVX512F__)
  __m512i values;  // twice: a permute looks at five bits, of which the fifth is not the code's
  FT_INLINE WordTable(float absmax, Dtype rounding)
      : values(_mm512_maskz_broadcast_i64x4(
            0xff,
            (__m256i)ResultBits(BlockValues(0, absmax, rounding), static_cast<Out*>(nullptr)))) {}
  template <bool kStream>
  FT_INLINE void Step(const uint8_t* codes, Out* out) const {
    // Lane k of four takes bytes 4 k ... 4 k + 3, each to both bytes of two words.
    const __m512i places = _mm512_add_epi32(
        _mm512_maskz_broadcast_i32x4(0xffff, _mm_setr_epi32(0, 0x01010101, 0x02020202, 0x03030303)),
        _mm512_setr_epi32(0, 0, 0, 0, 0x04040404, 0x04040404, 0x04040404, 0x04040404, 0x08080808,
                          0x08080808, 0x08080808, 0x08080808, 0x0c0c0c0c, 0x0c0c0c0c, 0x0c0c0c0c,
                          0x0c0c0c0c));
    __m128i bytes;
    __builtin_memcpy(&bytes, codes, sizeof(bytes));
    const __m512i spread = _mm512_shuffle_epi8(_mm512_maskz_broadcast_i32x4(0xffff, bytes), places);
    const __m512i index = _mm512_srlv_epi16(spread, _mm512_set1_epi32(4));
    const __m512i result = _mm512_permutexvar_epi16(index, values);
    if (kStream) {
      _mm512_stream_si512(reinterpret_cast<__m512i*>(out), result);
    } else {
      _mm512_storeu_si512(out, result);
    }
  }
#else
  __m256i low, high;  // the bytes of the 16 values, in both lanes
  FT_INLINE WordTable(float absmax, Dtype rounding) {
    const __m128i first =
        (__m128i)ResultBits(BlockValues(0, absmax, rounding), static_cast<Out*>(nullptr));
    const __m128i second =
        (__m128i)ResultBits(BlockValues(1, absmax, rounding), static_cast<Out*>(nullptr));
    const __m128i mask = _mm_set1_epi16(0xff);
    low = _mm256_broadcastsi128_si256(
        _mm_packus_epi16(_mm_and_si128(first, mask), _mm_and_si128(second, mask)));
    high = _mm256_broadcastsi128_si256(
        _mm_packus_epi16(_mm_srli_epi16(first, 8), _mm_srli_epi16(second, 8)));
  }
  template <bool kStream>
  FT_INLINE void Step(const uint8_t* codes, Out* out) const {
    __m128i bytes;
    __builtin_memcpy(&bytes, codes, sizeof(bytes));
    const __m128i mask = _mm_set1_epi8(15);
    const __m128i firsts = _mm_and_si128(_mm_srli_epi16(bytes, 4), mask);
    const __m128i seconds = _mm_and_si128(bytes, mask);
    const __m256i index =
        _mm256_set_m128i(_mm_unpackhi_epi8(firsts, seconds), _mm_unpacklo_epi8(firsts, seconds));
    const __m256i l = _mm256_shuffle_epi8(low, index), h = _mm256_shuffle_epi8(high, index);
    const __m256i a = _mm256_unpacklo_epi8(l, h), b = _mm256_unpackhi_epi8(l, h);
    const __m256i results[2] = {_mm256_permute2x128_si256(a, b, 0x20),
                                _mm256_permute2x128_si256(a, b, 0x31)};
    __m256i* to = reinterpret_cast<__m256i*>(out);
    if (kStream) {
      _mm256_stream_si256(to, results[0]);
      _mm256_stream_si256(to + 1, results[1]);
    } else {
      _mm256_storeu_si256(to, results[0]);
      _mm256_storeu_si256(to + 1, results[1]);
    }
  }
#endif
};
template <>
struct BlockTable<Bf16> : WordTable<Bf16> {
  using WordTable<Bf16>::WordTable;
};
template <>
struct BlockTable<Half> : WordTable<Half> {
  using WordTable<Half>::WordTable;
};
