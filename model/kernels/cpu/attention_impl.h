// Attention of one (document, kv head), in blocks of 64 queries by 64 keys (FlashAttention-2, Dao,
// arXiv:2307.08691); included by each <isa>.cc inside namespace fttrain::FT_ISA. Scores
// are kept transposed, [keys, queries]: the softmax statistics of a block are then vectors over
// queries, sums run down the rows, and the probabilities come out in the order the next product
// wants, so nothing is transposed inside the loops.

inline constexpr int64_t kBlock = 64;

FT_INLINE int64_t RoundUp(int64_t x, int64_t unit) { return (x + unit - 1) / unit * unit; }
FT_INLINE int64_t Smaller(int64_t a, int64_t b) { return a < b ? a : b; }

FT_INLINE float AsElement(float x, float) { return x; }
FT_INLINE double AsElement(double x, double) { return x; }
FT_INLINE float AsElement(Bf16 x, float) { return FloatFromBf16(x); }
FT_INLINE Bf16 AsElement(Bf16 x, Bf16) { return x; }

// Hands out 64-byte aligned pieces of a buffer; from null it only counts.
class Arena {
 public:
  explicit Arena(void* base) : base_(static_cast<char*>(base)) {}
  template <class X>
  X* Take(int64_t count) {
    X* piece = base_ == nullptr ? nullptr : reinterpret_cast<X*>(base_ + used_);
    used_ += RoundUp(count * static_cast<int64_t>(sizeof(X)), 64);
    return piece;
  }
  int64_t used() const { return used_; }

 private:
  char* base_;
  int64_t used_ = 0;
};

// Sizes of one head, padded: length to pairs, head_dim to whole vectors.
template <class T>
struct HeadShape {
  using S = typename StatisticsOf<T>::Type;
  explicit HeadShape(const AttentionHead<T>& h)
      : length(h.length),
        blocks((h.length + kBlock - 1) / kBlock),
        dim(RoundUp(h.head_dim, 16)),
        window(h.window > 0 ? h.window : h.length) {}
  int64_t length, blocks, dim, window;

  // Rows of a block as a K dimension, and as an N dimension.
  int64_t Rows(int64_t block) const { return RoundUp(Valid(block), 2); }
  int64_t Columns(int64_t block) const { return RoundUp(Valid(block), 16); }
  int64_t Valid(int64_t block) const { return Smaller(kBlock, length - block * kBlock); }
  int64_t FirstKeyBlock(int64_t query_block) const {
    const int64_t first_key = query_block * kBlock - window + 1;
    return first_key > 0 ? first_key / kBlock : 0;
  }
  int64_t LastQueryBlock(int64_t key_block) const {
    return Smaller(blocks - 1, (key_block * kBlock + kBlock - 1 + window - 1) / kBlock);
  }
  // Whether every query of the block sees every key of it.
  bool Full(int64_t key_block, int64_t query_block) const {
    return key_block < query_block && (query_block - key_block) * kBlock + kBlock - 1 < window;
  }
};

// rows x columns of T (stride between rows) as elements: row-major, row r at to + r * to_stride;
// zero beyond.
template <class T>
void CopyRows(const T* from, int64_t stride, int64_t rows, int64_t columns, ElementT<T>* to,
              int64_t padded_rows, int64_t to_stride) {
  for (int64_t r = 0; r < padded_rows; ++r, to += to_stride) {
    const int64_t valid = r < rows ? columns : 0;
    for (int64_t c = 0; c < valid; ++c) to[c] = AsElement(from[r * stride + c], ElementT<T>());
    for (int64_t c = valid; c < to_stride; ++c) to[c] = ElementT<T>();
  }
}

// The same rows transposed: [columns][kBlock] if interleave is 1, or as packed B [columns /
// kPair][kBlock][kPair].
template <class T>
void CopyTransposed(const T* from, int64_t stride, int64_t rows, int64_t columns,
                    int64_t padded_columns, int64_t interleave, ElementT<T>* to) {
  for (int64_t i = 0; i < padded_columns * kBlock; ++i) to[i] = ElementT<T>();
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; ++c) {
      to[(c / interleave * kBlock + r) * interleave + c % interleave] =
          AsElement(from[r * stride + c], ElementT<T>());
    }
  }
}

// The same rows as packed B of the product that sums over rows: [kBlock /
// kPair][padded_columns][kPair].
template <class T>
void CopyInterleaved(const T* from, int64_t stride, int64_t rows, int64_t columns,
                     int64_t padded_columns, ElementT<T>* to) {
  for (int64_t i = 0; i < padded_columns * kBlock; ++i) to[i] = ElementT<T>();
  for (int64_t r = 0; r < rows; ++r) {
    ElementT<T>* row = to + r / kPair<T> * padded_columns * kPair<T> + r % kPair<T>;
    for (int64_t c = 0; c < columns; ++c) {
      row[c * kPair<T>] = AsElement(from[r * stride + c], ElementT<T>());
    }
  }
}

// [dim][kBlock] sums to rows of T: to[q * stride + d] = from[d][q].
template <class T>
void StoreTransposed(const typename StatisticsOf<T>::Type* from, int64_t queries, int64_t dim,
                     T* to, int64_t stride) {
  for (int64_t q = 0; q < queries; ++q) {
    for (int64_t d = 0; d < dim; ++d)
      StorePart(to + q * stride + d,
                Vector<typename StatisticsOf<T>::Type>() + from[d * kBlock + q], 1);
  }
}

// Vectors of two neighbouring rows into packed B at (row, column), row even.
template <class S>
FT_INLINE void StoreRowPair(S* packed, int64_t row, int64_t column, const Vector<S>& even,
                            const Vector<S>& odd) {
  Store(packed + row * kBlock + column, even);
  Store(packed + (row + 1) * kBlock + column, odd);
}
#if defined(__AVX512BF16__)
FT_INLINE void StoreRowPair(Bf16* packed, int64_t row, int64_t column, const FloatVector& even,
                            const FloatVector& odd) {
  const Uint32Vector low = __builtin_convertvector(RoundToBf16(even), Uint32Vector);
  const Uint32Vector high = __builtin_convertvector(RoundToBf16(odd), Uint32Vector) << 16;
  StoreVector(packed + row * kBlock + column * 2, low | high);
}
#endif

// Which queries of a block see a key: those from `first` on, before `end`.
template <class S>
struct Visible {
  using Bits = typename VectorOf<S>::Bits;
  Visible(int64_t key_block, int64_t query_block, int64_t window)
      : first((key_block - query_block) * kBlock), end(first + window) {
    for (int i = 0; i < kLanes<S>; ++i) lane[i] = i;
  }
  // `value` where the query at column + lane sees key `row`, else `other`.
  FT_INLINE Vector<S> Select(int64_t row, int64_t column, const Vector<S>& value,
                             const Vector<S>& other) const {
    using Lane = decltype(Bits()[0] + 0);
    const Bits query = lane + static_cast<Lane>(column);
    const auto seen =
        (query >= static_cast<Lane>(first + row)) & (query < static_cast<Lane>(end + row));
    return seen ? value : other;
  }
  int64_t first, end;
  Bits lane;
};

template <class T>
struct ForwardWorkspace {
  using S = typename StatisticsOf<T>::Type;
  ForwardWorkspace(const HeadShape<T>& shape, Arena& arena)
      : k(arena.Take<ElementT<T>>(shape.blocks * kBlock * shape.dim)),
        v_transposed(arena.Take<ElementT<T>>(shape.blocks * kBlock * shape.dim)),
        q(arena.Take<ElementT<T>>(kBlock * shape.dim)),
        probabilities(arena.Take<ElementT<T>>(kBlock * kBlock)),
        scores(arena.Take<S>(kBlock * kBlock)),
        out(arena.Take<S>(kBlock * shape.dim)),
        max(arena.Take<S>(kBlock)),
        sum(arena.Take<S>(kBlock)) {}
  ElementT<T>*k, *v_transposed, *q, *probabilities;
  S *scores, *out, *max, *sum;
};

// What scores are multiplied by before the softmax; capped ones are scaled already.
template <class T>
FT_INLINE typename StatisticsOf<T>::Type ScoreScale(const AttentionHead<T>& h) {
  return h.soft_cap > 0 ? 1 : static_cast<typename StatisticsOf<T>::Type>(h.scale);
}
// Scales and caps the scores of a block where the head has a cap.
template <class T>
void CapScores(const AttentionHead<T>& h, typename StatisticsOf<T>::Type* scores, int64_t rows,
               int64_t columns) {
  using S = typename StatisticsOf<T>::Type;
  if (h.soft_cap == 0) return;
  const S scale = static_cast<S>(h.scale), cap = static_cast<S>(h.soft_cap);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t c = 0; c < columns; c += kLanes<S>) {
      S* at = scores + r * kBlock + c;
      Store(at, SoftCap<Vector<S>>(Load(at) * scale, cap));
    }
  }
}

// Scores of one block -> probabilities under the new running maximum; earlier sums are rescaled to
// it.
template <class T, bool kMasked>
void SoftmaxBlock(const ForwardWorkspace<T>& w, int64_t rows, int64_t columns, int64_t dim,
                  typename StatisticsOf<T>::Type scale,
                  const Visible<typename StatisticsOf<T>::Type>& visible) {
  using S = typename StatisticsOf<T>::Type;
  const Vector<S> never = Vector<S>() - static_cast<S>(__builtin_inff());
  for (int64_t c = 0; c < columns; c += kLanes<S>) {
    const Vector<S> old_max = Load(w.max + c);
    Vector<S> max = old_max;
    for (int64_t r = 0; r < rows; ++r) {
      Vector<S> score = Load(w.scores + r * kBlock + c) * scale;
      if (kMasked) score = visible.Select(r, c, score, never);
      max = score > max ? score : max;
    }
    Vector<S> even_sum = Vector<S>(), odd_sum = Vector<S>();
    for (int64_t r = 0; r < rows; r += 2) {
      Vector<S> even = Load(w.scores + r * kBlock + c) * scale;
      Vector<S> odd = Load(w.scores + (r + 1) * kBlock + c) * scale;
      if (kMasked) {
        even = visible.Select(r, c, even, never);
        odd = visible.Select(r + 1, c, odd, never);
      }
      even = Exp<Vector<S>>(even - max);
      odd = Exp<Vector<S>>(odd - max);
      even_sum += even;
      odd_sum += odd;
      StoreRowPair(w.probabilities, r, c, even, odd);
    }
    const Vector<S> rescale = Exp<Vector<S>>(old_max - max);
    Store(w.sum + c, Load(w.sum + c) * rescale + (even_sum + odd_sum));
    Store(w.max + c, max);
    for (int64_t d = 0; d < dim; ++d) {
      Store(w.out + d * kBlock + c, Load(w.out + d * kBlock + c) * rescale);
    }
  }
}

FT_INLINE float Log(float x) { return __builtin_logf(x); }
FT_INLINE double Log(double x) { return __builtin_log(x); }

// The queries of one block of query head g.
template <class T>
void ForwardQueryBlock(const AttentionHead<T>& h, const HeadShape<T>& shape,
                       const ForwardWorkspace<T>& w, int64_t g, int64_t i) {
  using S = typename StatisticsOf<T>::Type;
  const int64_t valid = shape.Valid(i), columns = shape.Columns(i), dim = shape.dim;
  const int64_t at = i * kBlock * h.q_stride + g * h.head_dim;
  CopyTransposed(h.q + at, h.q_stride, valid, h.head_dim, dim, kPair<T>, w.q);
  // A sink is a score that is there before any token's, of a value of zeros.
  for (int64_t c = 0; c < kBlock; ++c) {
    w.max[c] = h.sinks != nullptr ? h.sinks[g] : -static_cast<S>(__builtin_inff());
    w.sum[c] = h.sinks != nullptr ? 1 : 0;
  }
  for (int64_t e = 0; e < dim * kBlock; ++e) w.out[e] = 0;
  // The diagonal block comes first: from then on every query's maximum is finite.
  for (int64_t j = i; j >= shape.FirstKeyBlock(i); --j) {
    const int64_t rows = shape.Rows(j);
    Gemm<T>({w.k + j * kBlock * dim, dim, w.q, kBlock, w.scores, kBlock, dim}, rows, columns,
            false);
    CapScores(h, w.scores, rows, columns);
    const Visible<S> visible(j, i, shape.window);
    if (shape.Full(j, i)) {
      SoftmaxBlock<T, false>(w, rows, columns, dim, ScoreScale(h), visible);
    } else {
      SoftmaxBlock<T, true>(w, rows, columns, dim, ScoreScale(h), visible);
    }
    Gemm<T>(
        {w.v_transposed + j * kBlock * dim, kBlock, w.probabilities, kBlock, w.out, kBlock, rows},
        dim, columns, true);
  }
  for (int64_t c = 0; c < columns; c += kLanes<S>) {
    const Vector<S> inverse = S(1) / Load(w.sum + c);
    for (int64_t d = 0; d < dim; ++d) {
      Store(w.out + d * kBlock + c, Load(w.out + d * kBlock + c) * inverse);
    }
  }
  StoreTransposed<T>(w.out, valid, h.head_dim, h.out + at, h.q_stride);
  for (int64_t c = 0; c < valid; ++c) {
    h.lse[g * h.lse_stride + i * kBlock + c] = w.max[c] + Log(w.sum[c]);
  }
}

template <class T>
void AttentionForward(const AttentionHead<T>& h, void* workspace) {
  const HeadShape<T> shape(h);
  Arena arena(workspace);
  const ForwardWorkspace<T> w(shape, arena);
  CopyRows(h.k, h.kv_stride, h.length, h.head_dim, w.k, shape.blocks * kBlock, shape.dim);
  for (int64_t j = 0; j < shape.blocks; ++j) {
    CopyTransposed(h.v + j * kBlock * h.kv_stride, h.kv_stride, shape.Valid(j), h.head_dim,
                   shape.dim, 1, w.v_transposed + j * kBlock * shape.dim);
  }
  for (int64_t i = 0; i < shape.blocks; ++i) {
    for (int64_t g = 0; g < h.group; ++g) ForwardQueryBlock(h, shape, w, g, i);
  }
}
