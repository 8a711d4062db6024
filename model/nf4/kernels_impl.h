// The NF4 loops, compiled once per instruction set: included by each <isa>.cc, which
// defines FT_ISA (the namespace) and FT_ISA_FUNCTION (the table's accessor). It includes no header
// whose inline functions could be emitted here and then be picked by the linker for code that runs
// on older machines.
//
// A block has but 16 values: they are scaled, rounded and converted once, and an element costs one
// look-up of its final bits by a permute of registers.
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include <cstddef>
#include <cstdint>

#include "model/kernels/cpu/table.h"
#include "model/nf4/kernels.h"
#include "model/nf4/math.h"
#include "runtime/math/dynamic_map.h"

namespace fttrain {
namespace FT_ISA {
#include "model/kernels/cpu/vector_impl.h"

constexpr Nf4Table kTable = MakeNf4Table();
constexpr int kFloatLanes = kLanes<float>;
// How far ahead of results that are stored past the caches codes are fetched.
constexpr int kPrefetchBytes = 4096;

struct Half {
  uint16_t bits;
};

FT_INLINE Uint16Vector RoundToHalf(const FloatVector& v) {
#if defined(__AVX512F__)
  return (Uint16Vector)_mm512_maskz_cvtps_ph(0xffff, (__m512)v,
                                             _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#elif defined(__AVX2__)
  return (Uint16Vector)_mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT);
#else
  Uint16Vector half = {};
  for (int i = 0; i < kFloatLanes; ++i) half[i] = HalfFromFloat(v[i]);
  return half;
#endif
}
FT_INLINE FloatVector WidenHalf(const Uint16Vector& half) {
#if defined(__AVX512F__)
  return (FloatVector)_mm512_maskz_cvtph_ps(0xffff, (__m256i)half);
#elif defined(__AVX2__)
  return (FloatVector)_mm256_cvtph_ps((__m128i)half);
#else
  FloatVector v = {};
  for (int i = 0; i < kFloatLanes; ++i) v[i] = FloatFromHalf(half[i]);
  return v;
#endif
}
FT_INLINE FloatVector Load(const Half* from) { return WidenHalf(LoadVector<Uint16Vector>(from)); }
FT_INLINE float Widened(const float* from) { return *from; }
FT_INLINE float Widened(const Bf16* from) { return FloatFromBf16(*from); }
FT_INLINE float Widened(const Half* from) { return FloatFromHalf(from->bits); }

FT_INLINE float RoundValue(float x, Dtype rounding) {
  if (rounding == Dtype::kBfloat16) return FloatFromBf16(Bf16FromFloat(x));
  if (rounding == Dtype::kFloat16) return FloatFromHalf(HalfFromFloat(x));
  return x;
}
FT_INLINE void Put(float x, float* to) { *to = x; }
FT_INLINE void Put(float x, double* to) { *to = x; }
FT_INLINE void Put(float x, Bf16* to) { *to = Bf16FromFloat(x); }
FT_INLINE void Put(float x, Half* to) { to->bits = HalfFromFloat(x); }

// Values [part * lanes, ...) of a block, rounded.
FT_INLINE FloatVector BlockValues(int part, float absmax, Dtype rounding) {
  const FloatVector v = LoadVector<FloatVector>(kTable.values + part * kFloatLanes) * absmax;
  if (rounding == Dtype::kBfloat16) return WidenBf16(RoundToBf16(v));
  if (rounding == Dtype::kFloat16) return WidenHalf(RoundToHalf(v));
  return v;
}

// The 16 results of a block. Step looks up kStep elements whose codes begin a byte.
template <class Out>
struct BlockTable {
  static constexpr int kStep = 2;
  Out values[16];
  FT_INLINE BlockTable(float absmax, Dtype rounding) {
    for (int i = 0; i < 16; ++i) {
      Put(RoundValue(MultiplyRounded(kTable.values[i], absmax), rounding), values + i);
    }
  }
  template <bool>
  FT_INLINE void Step(const uint8_t* codes, Out* out) const {
    out[0] = values[codes[0] >> 4];
    out[1] = values[codes[0] & 15];
  }
};

#if defined(__AVX2__)
#include "model/nf4/tables_impl.h"
#endif

// `count` elements of one block, the first at place `first` of codes.
template <class Out, bool kStream>
FT_INLINE void DequantizeBlock(const uint8_t* codes, int64_t first, int64_t count, float absmax,
                               Dtype rounding, Out* out) {
  const auto one = [&](int64_t element, Out* to) {
    const int code = codes[element / 2] >> (element % 2 == 0 ? 4 : 0) & 15;
    Put(RoundValue(MultiplyRounded(kTable.values[code], absmax), rounding), to);
  };
  int64_t i = 0;
  if (first % 2 != 0 && count > 0) one(first, out + i++);
  const uint8_t* bytes = codes + (first + i) / 2;
  const BlockTable<Out> table(absmax, rounding);
  constexpr int kStep = BlockTable<Out>::kStep;
  for (; i + kStep <= count; i += kStep, bytes += kStep / 2) {
    table.template Step<kStream>(bytes, out + i);
  }
  for (; i < count; ++i) one(first + i, out + i);
}

// Whole blocks that begin a byte, without DequantizeBlock's care for ends. kSize: their size, or 0
// for whatever `size` is.
template <class Out, bool kStream, int64_t kSize>
FT_INLINE void DequantizeWholeBlocks(const uint8_t* codes, int64_t blocks, int64_t size,
                                     const float* absmax, Dtype rounding, Out* out) {
  constexpr int kStep = BlockTable<Out>::kStep;
  const int64_t steps = (kSize > 0 ? kSize : size) / kStep;
  for (int64_t block = 0; block < blocks; ++block) {
    const BlockTable<Out> table(absmax[block], rounding);
    if (kStream) __builtin_prefetch(codes + kPrefetchBytes);
    for (int64_t step = 0; step < steps; ++step, codes += kStep / 2, out += kStep) {
      table.template Step<kStream>(codes, out);
    }
  }
}

template <class Out, bool kStream>
void DequantizePiece(const Nf4Piece& piece, Out* out) {
  const uint8_t* codes = piece.codes;
  const Dtype rounding = piece.rounding;
  const int64_t size = piece.block_size;
  const float* absmax = piece.absmax;
  int64_t first = piece.first, left = piece.count;
  const auto part = [&](int64_t count) {
    DequantizeBlock<Out, kStream>(codes, first, count, *absmax++, rounding, out);
    first += count;
    out += count;
    left -= count;
  };
  const int64_t rest = size - piece.in_block;
  if (rest < size) part(left < rest ? left : rest);
  if (first % 2 == 0) {
    const int64_t blocks = left / size, count = blocks * size;
    const uint8_t* from = codes + first / 2;
    if (size == 64) {
      DequantizeWholeBlocks<Out, kStream, 64>(from, blocks, size, absmax, rounding, out);
    } else {
      DequantizeWholeBlocks<Out, kStream, 0>(from, blocks, size, absmax, rounding, out);
    }
    absmax += blocks;
    first += count;
    out += count;
    left -= count;
  }
  while (left > 0) part(left < size ? left : size);
}

template <class Out>
void DequantizeAs(Nf4Piece piece, Dtype type, void* out) {
  // Rounding to the result's own dtype is what the conversion does.
  if (piece.rounding == type) piece.rounding = Dtype::kFloat32;
#if defined(__AVX2__)
  // Every block then begins on a cache line.
  if (piece.stream && reinterpret_cast<uintptr_t>(out) % 64 == 0 && piece.first % 2 == 0 &&
      piece.in_block % 32 == 0) {
    DequantizePiece<Out, true>(piece, static_cast<Out*>(out));
    _mm_sfence();
    return;
  }
#endif
  DequantizePiece<Out, false>(piece, static_cast<Out*>(out));
}

void Dequantize(const Nf4Piece& piece, Dtype type, void* out) {
  switch (type) {
    case Dtype::kFloat32:
      return DequantizeAs<float>(piece, type, out);
    case Dtype::kBfloat16:
      return DequantizeAs<Bf16>(piece, type, out);
    case Dtype::kFloat16:
      return DequantizeAs<Half>(piece, type, out);
    case Dtype::kFloat64:
      return DequantizeAs<double>(piece, type, out);
  }
}

FT_INLINE Int32Vector CodesOf(const FloatVector& x) {
#if defined(__AVX512F__)
  // thresholds[15] is not looked up.
  const __m512 thresholds = _mm512_maskz_loadu_ps(0x7fff, kTable.thresholds);
  const auto above = [&](const __m512i& index) {
    return _mm512_cmp_ps_mask((__m512)x, _mm512_maskz_permutexvar_ps(0xffff, index, thresholds),
                              _CMP_GT_OQ);
  };
  const auto plus = [](const __m512i& v, int n) { return (__m512i)((Int32Vector)v + n); };
  __m512i code = {};
  for (int bit = 8; bit > 0; bit /= 2) {
    code = _mm512_mask_add_epi32(code, above(plus(code, bit - 1)), code, _mm512_set1_epi32(bit));
  }
  return (Int32Vector)code;
#else
  Int32Vector code = {};
  for (const float threshold : kTable.thresholds) code -= (Int32Vector)(x > threshold);
  return code;
#endif
}

// The first of two codes in the high nibble of their byte.
FT_INLINE void StorePairs(uint8_t* to, const Int32Vector& codes) {
  using Bytes __attribute__((vector_size(kFloatLanes / 2))) = uint8_t;
  const Uint64Vector pairs = (Uint64Vector)codes;
  StoreVector(to, __builtin_convertvector((pairs << 4) | (pairs >> 32), Bytes));
}

template <class T>
FT_INLINE float QuantizeWholeBlock(const T* values, int64_t count, uint8_t* codes) {
  Int32Vector max = {};
  for (int64_t i = 0; i < count; i += kFloatLanes) {
    const Int32Vector bits = (Int32Vector)Load(values + i) & 0x7fffffff;
    max = bits > max ? bits : max;
  }
  int32_t lanes[kFloatLanes], top = 0;
  StoreVector(lanes, max);
  for (const int32_t lane : lanes) top = lane > top ? lane : top;
  const float absmax = FloatFromBits(static_cast<uint32_t>(top));
  const float multiplier = DivideRounded(1.0F, Nf4Divisor(absmax));
  for (int64_t i = 0; i < count; i += kFloatLanes) {
    StorePairs(codes + i / 2, CodesOf(Load(values + i) * multiplier));
  }
  return absmax;
}

template <class T>
FT_INLINE float QuantizeShortBlock(const T* values, int64_t count, uint8_t* codes) {
  uint32_t top = 0;
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t bits = MagnitudeBits(Widened(values + i));
    top = bits > top ? bits : top;
  }
  const float absmax = Nf4Divisor(FloatFromBits(top));
  for (int64_t i = 0; i < count; i += 2) {
    const auto code = [&](int64_t at) {
      return Nf4Code(DivideRounded(Widened(values + at), absmax), kTable.thresholds);
    };
    const uint32_t second = i + 1 < count ? code(i + 1) : kNf4ZeroCode;
    codes[i / 2] = static_cast<uint8_t>(code(i) << 4 | second);
  }
  return absmax;
}

template <class T>
void QuantizeAs(const void* from, int64_t count, int64_t block_size, uint8_t* codes,
                float* absmax) {
  const T* values = static_cast<const T*>(from);
  for (int64_t i = 0; i < count; i += block_size) {
    *absmax++ = count - i >= block_size ? QuantizeWholeBlock(values + i, block_size, codes + i / 2)
                                        : QuantizeShortBlock(values + i, count - i, codes + i / 2);
  }
}

void Quantize(const void* values, Dtype type, int64_t count, int64_t block_size, uint8_t* codes,
              float* absmax) {
  if (type == Dtype::kBfloat16) {
    QuantizeAs<Bf16>(values, count, block_size, codes, absmax);
  } else if (type == Dtype::kFloat16) {
    QuantizeAs<Half>(values, count, block_size, codes, absmax);
  } else {
    QuantizeAs<float>(values, count, block_size, codes, absmax);
  }
}

void DecodeScales(const Nf4NestedScales& scales, float* absmax) {
  for (int64_t i = 0; i < scales.count;) {
    const int64_t place = scales.in_group + i, rest = 256 - place % 256, left = scales.count - i;
    const float group = scales.groups[place / 256], offset = scales.offset;
    const float* map = scales.map;
    const uint8_t* codes = scales.codes + i;
    const int64_t count = left < rest ? left : rest;
    int64_t j = 0;
#if defined(__AVX512F__)
    for (; j + kFloatLanes <= count; j += kFloatLanes) {
      __m128i bytes;
      __builtin_memcpy(&bytes, codes + j, sizeof(bytes));
      const __m512 values = _mm512_mask_i32gather_ps(
          (__m512)FloatVector(), 0xffff, _mm512_maskz_cvtepu8_epi32(0xffff, bytes), map, 4);
      StoreVector(absmax + i + j, (FloatVector)values * group + offset);
    }
#endif
    for (; j < count; ++j) absmax[i + j] = Nf4Absmax(map[codes[j]], group, offset);
    i += count;
  }
}

// The codes of several values, whose searches take turns: each waits for its loads.
constexpr int kSearches = 16;
FT_INLINE void NearestCodes(const float* thresholds, const float* x, uint8_t* codes) {
  uint32_t found[kSearches] = {};
  for (uint32_t step = 128; step > 0; step /= 2) {
    for (int i = 0; i < kSearches; ++i) found[i] = CodeAbove(thresholds, found[i], x[i], step);
  }
  for (int i = 0; i < kSearches; ++i) codes[i] = static_cast<uint8_t>(found[i]);
}

float EncodeGroup(const float* values, int64_t count, float offset, const float* thresholds,
                  uint8_t* codes) {
  uint32_t top = 0;
  for (int64_t i = 0; i < count; ++i) {
    const uint32_t bits = MagnitudeBits(values[i] - offset);
    top = bits > top ? bits : top;
  }
  const float absmax = FloatFromBits(top), multiplier = DivideRounded(1.0F, absmax);
  for (int64_t i = 0; i < count; i += kSearches) {
    const int64_t left = count - i, n = left < kSearches ? left : kSearches;
    float x[kSearches] = {};
    uint8_t nearest[kSearches];
    for (int64_t j = 0; j < n; ++j) x[j] = MultiplyRounded(values[i + j] - offset, multiplier);
    NearestCodes(thresholds, x, nearest);
    __builtin_memcpy(codes + i, nearest, static_cast<size_t>(n));
  }
  return absmax;
}

}  // namespace FT_ISA

const Nf4Kernels& FT_ISA_FUNCTION() {
  static constexpr Nf4Kernels kernels = {FT_ISA_NAME, FT_ISA::Dequantize, FT_ISA::Quantize,
                                         FT_ISA::DecodeScales, FT_ISA::EncodeGroup};
  return kernels;
}

}  // namespace fttrain
