// Small matrix products for attention's blocks; included by each <isa>.cc inside
// namespace fttrain::FT_ISA. C[M, N] (+)= A[M, K] B[K, N]: A row-major; B packed as [K /
// kPair][stride][kPair], so that one vector load brings kPair consecutive k of kLanes columns; N a
// multiple of kLanes, K of kPair.

// The element in which products of T are formed: T's statistics type, or bfloat16 pairs where the
// machine multiplies them.
template <class T>
struct Product {
  using S = typename StatisticsOf<T>::Type;
  using Element = S;
  static constexpr int64_t kPair = 1;
  static FT_INLINE Vector<S> MultiplyAdd(const Vector<S>& sum, const Element* a, const Element* b) {
    return sum + *a * Load(b);
  }
};
#if defined(__AVX512BF16__)
template <>
struct Product<Bf16> {
  using S = float;
  using Element = Bf16;
  static constexpr int64_t kPair = 2;
  static FT_INLINE FloatVector MultiplyAdd(const FloatVector& sum, const Bf16* a, const Bf16* b) {
    int32_t pair;
    __builtin_memcpy(&pair, a, sizeof(pair));
    return (FloatVector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(pair),
                                         (__m512bh)_mm512_loadu_si512(b));
  }
};
#endif

template <class T>
using ElementT = typename Product<T>::Element;
template <class T>
inline constexpr int64_t kPair = Product<T>::kPair;

// Rows and vectors of C held in registers.
#if defined(__AVX512F__)
inline constexpr int kTileVectors = 4;
#else
inline constexpr int kTileVectors = 2;
#endif
inline constexpr int kTileRows = 6;

template <class T>
struct GemmOperands {
  const ElementT<T>* a;
  int64_t a_stride;
  const ElementT<T>* b;
  int64_t b_stride;  // columns of the packed B
  typename StatisticsOf<T>::Type* c;
  int64_t c_stride;
  int64_t k;
};

template <class T, int kRows, int kVectors>
FT_INLINE void GemmTile(const GemmOperands<T>& op, int64_t row, int64_t column, bool accumulate) {
  using S = typename StatisticsOf<T>::Type;
  const ElementT<T>* a = op.a + row * op.a_stride;
  const ElementT<T>* b = op.b + column * kPair<T>;
  S* c = op.c + row * op.c_stride + column;
  Vector<S> sum[kRows][kVectors];
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) {
      sum[r][v] = accumulate ? Load(c + r * op.c_stride + v * kLanes<S>) : Vector<S>();
    }
  }
  for (int64_t k = 0; k < op.k; k += kPair<T>, b += op.b_stride * kPair<T>) {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
      for (int v = 0; v < kVectors; ++v) {
        sum[r][v] = Product<T>::MultiplyAdd(sum[r][v], a + r * op.a_stride + k,
                                            b + v * kLanes<S> * kPair<T>);
      }
    }
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (int v = 0; v < kVectors; ++v) Store(c + r * op.c_stride + v * kLanes<S>, sum[r][v]);
  }
}

template <class T, int kVectors>
FT_INLINE void GemmColumns(const GemmOperands<T>& op, int64_t rows, int64_t column,
                           bool accumulate) {
  int64_t row = 0;
  for (; row + kTileRows <= rows; row += kTileRows) {
    GemmTile<T, kTileRows, kVectors>(op, row, column, accumulate);
  }
  for (; row + 2 <= rows; row += 2) GemmTile<T, 2, kVectors>(op, row, column, accumulate);
  if (row < rows) GemmTile<T, 1, kVectors>(op, row, column, accumulate);
}

template <class T>
__attribute__((noinline)) void Gemm(const GemmOperands<T>& op, int64_t rows, int64_t columns,
                                    bool accumulate) {
  constexpr int64_t kLane = kLanes<typename StatisticsOf<T>::Type>;
  int64_t column = 0;
  for (; column + kTileVectors * kLane <= columns; column += kTileVectors * kLane) {
    GemmColumns<T, kTileVectors>(op, rows, column, accumulate);
  }
  for (; column + kLane <= columns; column += kLane) {
    GemmColumns<T, 1>(op, rows, column, accumulate);
  }
}
