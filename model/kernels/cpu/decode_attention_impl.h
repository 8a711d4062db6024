// Attention of one token over the keys and values before it; included by each <isa>.cc inside
// namespace fttrain::FT_ISA. A single query has no blocks to share: rows of keys and values are
// read once, for all query heads of their kv head.

template <class T>
void AttentionDecode(const DecodeHead<T>& h, typename StatisticsOf<T>::Type* scores) {
  using S = typename StatisticsOf<T>::Type;
  const int64_t stride = RoundUp(h.length, kDecodeUnit);
  for (int64_t t = 0; t < h.length; ++t) {
    const T* key = h.k + t * h.kv_stride;
    for (int64_t g = 0; g < h.group; ++g) {
      const T* query = h.q + g * h.head_dim;
      Vector<S> sum = Vector<S>();
      ForEachVector<S>(h.head_dim,
                       [&](int64_t i, auto io) { sum += io.Get(query + i) * io.Get(key + i); });
      const S score = SumInRegister<S>(sum) * static_cast<S>(h.scale);
      scores[g * stride + t] =
          h.soft_cap > 0 ? SoftCap<S>(score, static_cast<S>(h.soft_cap)) : score;
    }
  }
  for (int64_t g = 0; g < h.group; ++g) {
    S* mine = scores + g * stride;
    S max = mine[0];
    if (h.sinks != nullptr) max = h.sinks[g] > max ? h.sinks[g] : max;
    for (int64_t t = 1; t < h.length; ++t) max = mine[t] > max ? mine[t] : max;
    for (int64_t t = h.length; t < stride; ++t) mine[t] = -static_cast<S>(__builtin_inff());
    const S sum = SumOverRow<S>(stride, [&](int64_t t, auto io) {
      const Vector<S> weight = Exp<Vector<S>>(io.Get(mine + t) - max);
      io.Put(mine + t, weight);
      return weight;
    });
    const S inverse = S(1) / (h.sinks != nullptr ? sum + Exp<S>(h.sinks[g] - max) : sum);
    for (int64_t t = 0; t < h.length; ++t) mine[t] *= inverse;
  }
  for (int64_t g = 0; g < h.group; ++g) {
    const S* weights = scores + g * stride;
    ForEachVector<S>(h.head_dim, [&](int64_t i, auto io) {
      Vector<S> even = Vector<S>(), odd = Vector<S>();
      int64_t t = 0;
      for (; t + 2 <= h.length; t += 2) {
        even += weights[t] * io.Get(h.v + t * h.kv_stride + i);
        odd += weights[t + 1] * io.Get(h.v + (t + 1) * h.kv_stride + i);
      }
      if (t < h.length) even += weights[t] * io.Get(h.v + t * h.kv_stride + i);
      io.Put(h.out + g * h.head_dim + i, even + odd);
    });
  }
}
