// SIMD vectors of the instruction set being compiled, from the compiler's vector types: included
// once by each <isa>.cc inside namespace fttrain::FT_ISA. Loads widen T to its
// statistics type, stores round. Everything is always_inline: nothing compiled for one instruction
// set may be shared by the linker with another.

#define FT_INLINE inline __attribute__((always_inline))

#if defined(__AVX512F__)
inline constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
inline constexpr int kVectorBytes = 32;
#else
inline constexpr int kVectorBytes = 16;
#endif

template <class S>
inline constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(S));

using FloatVector __attribute__((vector_size(kVectorBytes))) = float;
using DoubleVector __attribute__((vector_size(kVectorBytes))) = double;
using Int32Vector __attribute__((vector_size(kVectorBytes))) = int32_t;
using Uint32Vector __attribute__((vector_size(kVectorBytes))) = uint32_t;
using Uint64Vector __attribute__((vector_size(kVectorBytes))) = uint64_t;
using Int64Vector __attribute__((vector_size(kVectorBytes))) = int64_t;
using Uint16Vector __attribute__((vector_size(kVectorBytes / 2))) = uint16_t;

template <class S>
struct VectorOf;
template <>
struct VectorOf<float> {
  using Type = FloatVector;
  using Bits = Int32Vector;
  static constexpr int32_t kLane[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
};
template <>
struct VectorOf<double> {
  using Type = DoubleVector;
  using Bits = Int64Vector;
  static constexpr int64_t kLane[] = {0, 1, 2, 3, 4, 5, 6, 7};
};
template <class S>
using Vector = typename VectorOf<S>::Type;

// Loads and stores through memcpy carry no alignment or aliasing promise.
template <class V>
FT_INLINE V LoadVector(const void* from) {
  V v;
  __builtin_memcpy(&v, from, sizeof(v));
  return v;
}
template <class V>
FT_INLINE void StoreVector(void* to, const V& v) {
  __builtin_memcpy(to, &v, sizeof(v));
}

// bfloat16 bits to the upper half of float32 lanes. The compiler's own widening takes three
// instructions.
FT_INLINE FloatVector WidenBf16(const Uint16Vector& bits) {
#if defined(__AVX512F__)
  // The unmasked form trips the compiler's warning of uninitialised values.
  return (FloatVector)((Uint32Vector)_mm512_maskz_cvtepu16_epi32(0xffff, (__m256i)bits) << 16);
#elif defined(__AVX2__)
  return (FloatVector)((Uint32Vector)_mm256_cvtepu16_epi32((__m128i)bits) << 16);
#else
  return (FloatVector)(__builtin_convertvector(bits, Uint32Vector) << 16);
#endif
}

FT_INLINE FloatVector Load(const float* from) { return LoadVector<FloatVector>(from); }
FT_INLINE DoubleVector Load(const double* from) { return LoadVector<DoubleVector>(from); }
FT_INLINE FloatVector Load(const Bf16* from) { return WidenBf16(LoadVector<Uint16Vector>(from)); }

FT_INLINE void Store(float* to, const FloatVector& v) { StoreVector(to, v); }
FT_INLINE void Store(double* to, const DoubleVector& v) { StoreVector(to, v); }
FT_INLINE Uint16Vector RoundToBf16(const FloatVector& v) {
#if defined(__AVX512BF16__)
  return (Uint16Vector)_mm512_cvtneps_pbh((__m512)v);
#else
  const Uint32Vector bits = (Uint32Vector)v;
  const Uint32Vector rounded = (bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16;
  const Uint32Vector quiet_nan = Uint32Vector() + 0x7fc0u;
  return __builtin_convertvector(v != v ? quiet_nan : rounded, Uint16Vector);
#endif
}
FT_INLINE void Store(Bf16* to, const FloatVector& v) { StoreVector(to, RoundToBf16(v)); }

// The first `count` elements, the rest zero; and back.
template <class T>
FT_INLINE auto LoadPart(const T* from, int64_t count) {
  T buffer[kLanes<typename StatisticsOf<T>::Type>] = {};
  __builtin_memcpy(buffer, from, static_cast<size_t>(count) * sizeof(T));
  return Load(buffer);
}
template <class T, class V>
FT_INLINE void StorePart(T* to, const V& v, int64_t count) {
  T buffer[kLanes<typename StatisticsOf<T>::Type>];
  Store(buffer, v);
  __builtin_memcpy(to, buffer, static_cast<size_t>(count) * sizeof(T));
}

// The value as it is after a round trip through T.
FT_INLINE FloatVector RoundTo(const FloatVector& v, const float*) { return v; }
FT_INLINE DoubleVector RoundTo(const DoubleVector& v, const double*) { return v; }
FT_INLINE FloatVector RoundTo(const FloatVector& v, const Bf16*) {
  return WidenBf16(RoundToBf16(v));
}

// Sums in a fixed tree, so that the result depends on nothing but the vector width.
template <class S>
FT_INLINE S SumLanes(const Vector<S>& v) {
  S lanes[kLanes<S>];
  StoreVector(lanes, v);
  for (int width = kLanes<S> / 2; width > 0; width /= 2) {
    for (int i = 0; i < width; ++i) lanes[i] += lanes[i + width];
  }
  return lanes[0];
}
// The same without a way through memory, for sums of a few vectors: each step adds the vector with
// its halves exchanged, then quarters, ...
template <class S>
FT_INLINE S SumInRegister(Vector<S> v) {
  const auto lane = LoadVector<typename VectorOf<S>::Bits>(VectorOf<S>::kLane);
#pragma GCC unroll 4
  for (int width = kLanes<S> / 2; width > 0; width /= 2) {
    v += __builtin_shuffle(v, lane ^ width);
  }
  return v[0];
}
template <class S>
FT_INLINE S MaxLanes(const Vector<S>& v) {
  S lanes[kLanes<S>];
  StoreVector(lanes, v);
  S max = lanes[0];
  for (int i = 1; i < kLanes<S>; ++i) max = lanes[i] > max ? lanes[i] : max;
  return max;
}

// Calls body(vector index begin, count) over [0, columns): whole vectors with the compile-time
// count first, then at most one part. `body` gets a loader and a storer that know which of the two
// it is.
struct Whole {
  template <class T>
  static FT_INLINE auto Get(const T* from) {
    return Load(from);
  }
  template <class T, class V>
  static FT_INLINE void Put(T* to, const V& v) {
    Store(to, v);
  }
  // v where there are elements, else 0.
  template <class V>
  static FT_INLINE V Only(const V& v) {
    return v;
  }
};
struct Part {
  int64_t count;
  template <class T>
  FT_INLINE auto Get(const T* from) const {
    return LoadPart(from, count);
  }
  template <class T, class V>
  FT_INLINE void Put(T* to, const V& v) const {
    StorePart(to, v, count);
  }
  template <class V>
  FT_INLINE V Only(const V& v) const {
    decltype(v[0] + 0) buffer[sizeof(V) / sizeof(v[0])];
    StorePart(buffer, v, count);
    return LoadPart(buffer, count);
  }
};
template <class S, class Body>
FT_INLINE void ForEachVector(int64_t columns, const Body& body) {
  int64_t i = 0;
#pragma GCC unroll 4
  for (; i + kLanes<S> <= columns; i += kLanes<S>) body(i, Whole{});
  if (i < columns) body(i, Part{columns - i});
}

// Sums over a row in four interleaved accumulators, which hide the latency of the additions:
// term(i, io) is the vector at column i.
template <class S, class Term>
FT_INLINE S SumOverRow(int64_t columns, const Term& term) {
  Vector<S> sums[4] = {};
  int64_t i = 0;
  for (; i + 4 * kLanes<S> <= columns; i += 4 * kLanes<S>) {
#pragma GCC unroll 4
    for (int u = 0; u < 4; ++u) sums[u] += term(i + u * kLanes<S>, Whole{});
  }
  for (; i + kLanes<S> <= columns; i += kLanes<S>) sums[0] += term(i, Whole{});
  if (i < columns) sums[1] += term(i, Part{columns - i});
  return SumLanes<S>((sums[0] + sums[1]) + (sums[2] + sums[3]));
}
