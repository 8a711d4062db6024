// Backward of kernels/cpu/attention_impl.h: probabilities are recomputed from the log-sum-exp,
// which a sink is in (its value, and so the gradient of its probability, is zero). Key blocks
// outside, query blocks and the group's heads inside: dk and dv of a block are complete when its
// loop ends, dq sums up over it.

template <class T>
struct BackwardWorkspace {
  using S = typename StatisticsOf<T>::Type;
  BackwardWorkspace(const HeadShape<T>& shape, int64_t group, Arena& arena)
      : keys(shape.blocks * kBlock * shape.dim),
        block(kBlock * shape.dim),
        k(arena.Take<ElementT<T>>(keys)),
        v(arena.Take<ElementT<T>>(keys)),
        k_transposed(arena.Take<ElementT<T>>(keys)),
        q_transposed(arena.Take<ElementT<T>>(keys * group)),
        dout_transposed(arena.Take<ElementT<T>>(keys * group)),
        q_rows(arena.Take<ElementT<T>>(keys * group)),
        dout_rows(arena.Take<ElementT<T>>(keys * group)),
        probabilities(arena.Take<ElementT<T>>(kBlock * kBlock)),
        dscores(arena.Take<ElementT<T>>(kBlock * kBlock)),
        dscores_packed(arena.Take<ElementT<T>>(kBlock * kBlock)),
        scores(arena.Take<S>(kBlock * kBlock)),
        dprobabilities(arena.Take<S>(kBlock * kBlock)),
        dk(arena.Take<S>(block)),
        dv(arena.Take<S>(block)),
        dq(arena.Take<S>(keys * group)),
        lse(arena.Take<S>(shape.blocks * kBlock * group)),
        delta(arena.Take<S>(shape.blocks * kBlock * group)) {}
  int64_t keys, block;
  ElementT<T>*k, *v, *k_transposed, *q_transposed, *dout_transposed, *q_rows, *dout_rows;
  ElementT<T>*probabilities, *dscores, *dscores_packed;
  S *scores, *dprobabilities, *dk, *dv, *dq, *lse, *delta;
};

// Packs the queries and dout of block i of query head g; delta = sum over d of dout * out.
template <class T>
void PrepareQueryBlock(const AttentionHead<T>& h, const HeadShape<T>& shape,
                       const BackwardWorkspace<T>& w, int64_t g, int64_t i) {
  using S = typename StatisticsOf<T>::Type;
  const int64_t at = i * kBlock * h.q_stride + g * h.head_dim, valid = shape.Valid(i);
  const int64_t index = g * shape.blocks + i, to = index * w.block;
  CopyTransposed(h.q + at, h.q_stride, valid, h.head_dim, shape.dim, kPair<T>, w.q_transposed + to);
  CopyTransposed(h.dout + at, h.q_stride, valid, h.head_dim, shape.dim, kPair<T>,
                 w.dout_transposed + to);
  CopyInterleaved(h.q + at, h.q_stride, valid, h.head_dim, shape.dim, w.q_rows + to);
  CopyInterleaved(h.dout + at, h.q_stride, valid, h.head_dim, shape.dim, w.dout_rows + to);
  for (int64_t e = 0; e < w.block; ++e) w.dq[to + e] = 0;
  for (int64_t c = 0; c < kBlock; ++c) {
    S delta = 0;
    if (c < valid) {
      const T *dout = h.dout + at + c * h.q_stride, *out = h.out + at + c * h.q_stride;
      Vector<S> sums = Vector<S>();
      ForEachVector<S>(h.head_dim,
                       [&](int64_t d, auto io) { sums += io.Get(dout + d) * io.Get(out + d); });
      delta = SumLanes<S>(sums);
    }
    w.delta[index * kBlock + c] = delta;
    w.lse[index * kBlock + c] = c < valid ? h.lse[g * h.lse_stride + i * kBlock + c] : S(0);
  }
}

// Scores and the gradients of the probabilities -> probabilities and the gradients of the scores,
// as rows and, for dq, as packed B.
template <class T, bool kMasked, bool kCapped>
void GradientBlock(const AttentionHead<T>& h, const BackwardWorkspace<T>& w, int64_t rows,
                   int64_t columns, const typename StatisticsOf<T>::Type* lse,
                   const typename StatisticsOf<T>::Type* delta,
                   const Visible<typename StatisticsOf<T>::Type>& visible) {
  using S = typename StatisticsOf<T>::Type;
  const S scale = static_cast<S>(h.scale), cap = static_cast<S>(h.soft_cap);
  for (int64_t c = 0; c < columns; c += kLanes<S>) {
    const Vector<S> row_lse = Load(lse + c), row_delta = Load(delta + c);
    for (int64_t r = 0; r < rows; r += 2) {
      Vector<S> dscore[2];
      for (int64_t e = 0; e < 2; ++e) {
        const int64_t at = (r + e) * kBlock + c;
        const Vector<S> score = kCapped ? Load(w.scores + at) : Load(w.scores + at) * scale;
        Vector<S> probability = Exp<Vector<S>>(score - row_lse);
        if (kMasked) probability = visible.Select(r + e, c, probability, Vector<S>());
        dscore[e] = probability * (Load(w.dprobabilities + at) - row_delta) * scale;
        if (kCapped) dscore[e] *= SoftCapDerivative(score, cap);
        Store(w.probabilities + at, probability);
        Store(w.dscores + at, dscore[e]);
      }
      StoreRowPair(w.dscores_packed, r, c, dscore[0], dscore[1]);
    }
  }
}

// What queries of block i of head g add to dk, dv of key block j and to their own dq.
template <class T>
void BackwardBlock(const AttentionHead<T>& h, const HeadShape<T>& shape,
                   const BackwardWorkspace<T>& w, int64_t g, int64_t i, int64_t j) {
  using S = typename StatisticsOf<T>::Type;
  const int64_t rows = shape.Rows(j), columns = shape.Columns(i), queries = shape.Rows(i);
  const int64_t dim = shape.dim, keys_at = j * w.block, index = g * shape.blocks + i,
                at = index * w.block;
  Gemm<T>({w.k + keys_at, dim, w.q_transposed + at, kBlock, w.scores, kBlock, dim}, rows, columns,
          false);
  Gemm<T>({w.v + keys_at, dim, w.dout_transposed + at, kBlock, w.dprobabilities, kBlock, dim}, rows,
          columns, false);
  CapScores(h, w.scores, rows, columns);
  const Visible<S> visible(j, i, shape.window);
  const auto plain =
      shape.Full(j, i) ? GradientBlock<T, false, false> : GradientBlock<T, true, false>;
  const auto capped =
      shape.Full(j, i) ? GradientBlock<T, false, true> : GradientBlock<T, true, true>;
  (h.soft_cap > 0 ? capped : plain)(h, w, rows, columns, w.lse + index * kBlock,
                                    w.delta + index * kBlock, visible);
  Gemm<T>({w.probabilities, kBlock, w.dout_rows + at, dim, w.dv, dim, queries}, rows, dim, true);
  Gemm<T>({w.dscores, kBlock, w.q_rows + at, dim, w.dk, dim, queries}, rows, dim, true);
  Gemm<T>({w.k_transposed + keys_at, kBlock, w.dscores_packed, kBlock, w.dq + at, kBlock, rows},
          dim, columns, true);
}

// `valid` rows of sums to T.
template <class T>
void StoreRows(const typename StatisticsOf<T>::Type* from, int64_t valid, int64_t dim,
               int64_t head_dim, T* to, int64_t stride) {
  for (int64_t r = 0; r < valid; ++r) {
    ForEachVector<typename StatisticsOf<T>::Type>(head_dim, [&](int64_t d, auto io) {
      io.Put(to + r * stride + d, io.Get(from + r * dim + d));
    });
  }
}

template <class T>
void AttentionBackward(const AttentionHead<T>& h, void* workspace) {
  const HeadShape<T> shape(h);
  Arena arena(workspace);
  const BackwardWorkspace<T> w(shape, h.group, arena);
  const int64_t padded = shape.blocks * kBlock;
  CopyRows(h.k, h.kv_stride, h.length, h.head_dim, w.k, padded, shape.dim);
  CopyRows(h.v, h.kv_stride, h.length, h.head_dim, w.v, padded, shape.dim);
  for (int64_t j = 0; j < shape.blocks; ++j) {
    CopyTransposed(h.k + j * kBlock * h.kv_stride, h.kv_stride, shape.Valid(j), h.head_dim,
                   shape.dim, 1, w.k_transposed + j * w.block);
  }
  for (int64_t g = 0; g < h.group; ++g) {
    for (int64_t i = 0; i < shape.blocks; ++i) PrepareQueryBlock(h, shape, w, g, i);
  }
  for (int64_t j = 0; j < shape.blocks; ++j) {
    for (int64_t e = 0; e < w.block; ++e) w.dk[e] = w.dv[e] = 0;
    for (int64_t i = j; i <= shape.LastQueryBlock(j); ++i) {
      for (int64_t g = 0; g < h.group; ++g) BackwardBlock(h, shape, w, g, i, j);
    }
    const int64_t at = j * kBlock * h.kv_stride;
    StoreRows(w.dk, shape.Valid(j), shape.dim, h.head_dim, h.dk + at, h.kv_stride);
    StoreRows(w.dv, shape.Valid(j), shape.dim, h.head_dim, h.dv + at, h.kv_stride);
  }
  for (int64_t g = 0; g < h.group; ++g) {
    for (int64_t i = 0; i < shape.blocks; ++i) {
      StoreTransposed<T>(w.dq + (g * shape.blocks + i) * w.block, shape.Valid(i), h.head_dim,
                         h.dq + i * kBlock * h.q_stride + g * h.head_dim, h.q_stride);
    }
  }
}

template <class T>
int64_t AttentionWorkspace(const AttentionHead<T>& h, bool backward) {
  const HeadShape<T> shape(h);
  Arena counter(nullptr);
  if (backward) {
    BackwardWorkspace<T>(shape, h.group, counter);
  } else {
    ForwardWorkspace<T>(shape, counter);
  }
  return counter.used();
}
