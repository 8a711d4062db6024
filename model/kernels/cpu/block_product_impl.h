// Some columns of a product of matrices that are too small for a library's preparations
// (matmul/cpu_grouped.h); included by each <isa>.cc inside namespace fttrain::FT_ISA. b's columns
// are packed once, as Gemm reads them, and meet all rows of a. Every element is summed in the same
// order whatever the others are.

// Rows of sums in the workspace: whole tiles.
inline constexpr int64_t kSumRows = 16 * kTileRows;

// Terms of a sum that are added at a time: as many of the packed columns stay in a core's cache for
// all rows of sums.
inline constexpr int64_t kDeepest = 512;

// Whether Gemm takes T's elements as they are.
template <class T>
inline constexpr bool kTakesElements = sizeof(ElementT<T>) == sizeof(T);

// As many vectors as each has lanes: the matrix that they are, transposed. Neighbours change
// places, then pairs of them, fours, ...
template <class S>
FT_INLINE void TransposeVectors(Vector<S> (&rows)[kLanes<S>]) {
  using Bits = typename VectorOf<S>::Bits;
  const Bits lane = LoadVector<Bits>(VectorOf<S>::kLane);
#pragma GCC unroll 4
  for (int width = 1; width < kLanes<S>; width *= 2) {
    // Of both vectors' lanes, one after the other.
    const Bits upper = (lane & width) != 0;
    const Bits low = upper ? lane - width + kLanes<S> : lane;
    const Bits high = upper ? lane + kLanes<S> : lane + width;
#pragma GCC unroll 16
    for (int i = 0; i < kLanes<S>; ++i) {
      if ((i & width) != 0) continue;
      const Vector<S> own = rows[i], other = rows[i + width];
      rows[i] = __builtin_shuffle(own, other, low);
      rows[i + width] = __builtin_shuffle(own, other, high);
    }
  }
}

// A vector of the first `count` elements of T as they lie, the rest zero.
template <class T>
FT_INLINE auto LoadBits(const T* from, int64_t count) {
  using V = Vector<StatisticsT<T>>;
  constexpr int64_t kWhole = sizeof(V) / sizeof(T);
  if (count >= kWhole) return LoadVector<V>(from);
  T buffer[kWhole] = {};
  __builtin_memcpy(buffer, from, static_cast<size_t>(count) * sizeof(T));
  return LoadVector<V>(buffer);
}

// b whose columns are contiguous.
template <class T>
void PackColumns(const BlockProduct<T>& p, int64_t width, T* packed) {
  using S = StatisticsT<T>;
  constexpr int64_t kLane = kLanes<S>, kDeep = kLane * kPair<T>;
  for (int64_t n = 0; n < width; n += kLane) {
    for (int64_t k = 0; k < p.inner; k += kDeep) {
      Vector<S> rows[kLane];
#pragma GCC unroll 16
      for (int64_t i = 0; i < kLane; ++i) {
        rows[i] =
            n + i < p.columns ? LoadBits(p.b + (n + i) * p.b_stride + k, p.inner - k) : Vector<S>();
      }
      TransposeVectors<S>(rows);
      T* const to = packed + k * width + n * kPair<T>;
#pragma GCC unroll 16
      for (int64_t i = 0; i < kLane; ++i) {
        if (k + i * kPair<T> < p.inner) StoreVector(to + i * width * kPair<T>, rows[i]);
      }
    }
  }
}

// b whose rows are contiguous.
template <class T>
void PackRows(const BlockProduct<T>& p, int64_t width, T* packed) {
  using S = StatisticsT<T>;
  for (int64_t k = 0; k < p.inner; k += kPair<T>) {
    const T* const row = p.b + k * p.b_stride;
    for (int64_t n = 0; n < width; n += kLanes<S>) {
      const int64_t count = Smaller(kLanes<S>, p.columns - n);
      const auto load = [&](const T* from) {
        return count == kLanes<S> ? Load(from) : LoadPart(from, count);
      };
      T* const to = packed + k * width + n * kPair<T>;
      if constexpr (kPair<T> == 1) {
        StoreVector(to, load(row + n));
      } else {
        // Widened bits are the upper half.
        const Uint32Vector even = (Uint32Vector)load(row + n),
                           odd = (Uint32Vector)load(row + p.b_stride + n);
        StoreVector(to, (even >> 16) | odd);
      }
    }
  }
}

template <class T>
struct BlockWorkspace {
  BlockWorkspace(int64_t inner, Arena& arena)
      : packed(arena.Take<T>(inner * kProductColumns)),
        sum(arena.Take<StatisticsT<T>>(kSumRows * kProductColumns)) {}
  T* packed;
  StatisticsT<T>* sum;
};

template <class T>
int64_t BlockProductWorkspace(int64_t inner) {
  if (!kTakesElements<T> || inner % kPair<T> != 0) return 0;
  Arena arena(nullptr);
  const BlockWorkspace<T> w(inner, arena);
  return arena.used();
}

template <class T>
void MultiplyBlock(const BlockProduct<T>& p, void* workspace) {
  if constexpr (kTakesElements<T>) {
    using S = StatisticsT<T>;
    Arena arena(workspace);
    const BlockWorkspace<T> w(p.inner, arena);
    const int64_t width = RoundUp(p.columns, kLanes<S>);
    if (p.b_by_rows) {
      PackRows(p, width, w.packed);
    } else {
      PackColumns(p, width, w.packed);
    }
    for (int64_t row = 0; row < p.rows; row += kSumRows) {
      const int64_t rows = Smaller(kSumRows, p.rows - row);
      int64_t k = 0;
      do {
        Gemm<T>({p.a + row * p.a_stride + k, p.a_stride, w.packed + k * width, width, w.sum, width,
                 Smaller(kDeepest, p.inner - k)},
                rows, width, /*accumulate=*/k > 0);
      } while ((k += kDeepest) < p.inner);
      for (int64_t r = 0; r < rows; ++r) {
        T* const out = p.out + (row + r) * p.out_stride;
        ForEachVector<S>(p.columns, [&](int64_t c, const auto& io) {
          Vector<S> value = p.alpha * Load(w.sum + r * width + c);
          if (p.accumulate) value += io.Get(out + c);
          io.Put(out + c, value);
        });
      }
    }
  }
}
