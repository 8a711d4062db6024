// Row loops of kernels/cpu/table.h; included by each <isa>.cc inside namespace
// fttrain::FT_ISA.

template <class T>
using StatisticsT = typename StatisticsOf<T>::Type;

FT_INLINE float SquareRoot(float x) { return __builtin_sqrtf(x); }
FT_INLINE double SquareRoot(double x) { return __builtin_sqrt(x); }

// The mean over a row of (x - m)^2, and m.
template <class S>
struct RowMoments {
  S mean, squares;
};
template <class T>
RowMoments<StatisticsT<T>> CenteredMoments(const T* x, int64_t columns) {
  using S = StatisticsT<T>;
  const S mean =
      SumOverRow<S>(columns, [&](int64_t i, auto io) { return io.Get(x + i); }) / S(columns);
  const S squares = SumOverRow<S>(columns, [&](int64_t i, auto io) {
    const Vector<S> value = io.Only(io.Get(x + i) - mean);
    return value * value;
  });
  return {mean, squares / S(columns)};
}
template <class T>
RowMoments<StatisticsT<T>> PlainMoments(const T* x, int64_t columns) {
  using S = StatisticsT<T>;
  const S squares = SumOverRow<S>(columns, [&](int64_t i, auto io) {
    const Vector<S> value = io.Get(x + i);
    return value * value;
  });
  return {S(0), squares / S(columns)};
}

// x += delta, and its plain moments.
template <class T>
RowMoments<StatisticsT<T>> AddDelta(T* x, const T* delta, int64_t columns) {
  using S = StatisticsT<T>;
  const S squares = SumOverRow<S>(columns, [&](int64_t i, auto io) {
    const Vector<S> sum = RoundTo(io.Get(x + i) + io.Get(delta + i), x);
    io.Put(x + i, sum);
    return sum * sum;
  });
  return {S(0), squares / S(columns)};
}

template <class T>
void Norm(T* x, const T* delta, const T* weight, T* y, int64_t rows, int64_t columns,
          const NormForm& form) {
  using S = StatisticsT<T>;
  const S offset = S(form.offset);
  const bool rounds_once = form.rounds_once;
  for (int64_t r = 0; r < rows; ++r, x += columns, y += columns) {
    RowMoments<S> row;
    if (delta != nullptr) {
      row = AddDelta(x, delta, columns);
      delta += columns;
    } else if (!form.centered) {
      row = PlainMoments(x, columns);
    }
    if (form.centered) row = CenteredMoments(x, columns);
    const S mean = row.mean, rstd = S(1) / SquareRoot(row.squares + S(form.eps));
    ForEachVector<S>(columns, [&](int64_t i, auto io) {
      const Vector<S> quotient = (io.Get(x + i) - mean) * rstd;
      const Vector<S> normalized = rounds_once ? quotient : RoundTo(quotient, x);
      io.Put(y + i, normalized * (io.Get(weight + i) + offset));
    });
  }
}

template <class T>
void NormBackward(const T* dy, const T* x, const T* weight, const T* dresidual, T* dx,
                  StatisticsT<T>* dweight, int64_t rows, int64_t columns, const NormForm& form) {
  using S = StatisticsT<T>;
  const S offset = S(form.offset);
  const bool rounds_once = form.rounds_once;
  for (int64_t r = 0; r < rows; ++r) {
    const RowMoments<S> row =
        form.centered ? CenteredMoments(x, columns) : PlainMoments(x, columns);
    const S mean = row.mean;
    const S products = SumOverRow<S>(columns, [&](int64_t i, auto io) {
      return io.Get(dy + i) * (io.Get(weight + i) + offset) * (io.Get(x + i) - mean);
    });
    S mean_g = 0;
    if (form.centered) {
      mean_g = SumOverRow<S>(columns,
                             [&](int64_t i, auto io) {
                               return io.Get(dy + i) * (io.Get(weight + i) + offset);
                             }) /
               S(columns);
    }
    const S rstd = S(1) / SquareRoot(row.squares + S(form.eps));
    const S mean_gx = products / S(columns) * rstd * rstd;
    ForEachVector<S>(columns, [&](int64_t i, auto io) {
      const Vector<S> value = io.Get(x + i) - mean, grad = io.Get(dy + i);
      const Vector<S> factor = io.Get(weight + i) + offset;
      Vector<S> out = NormInputGradient(grad, factor, value, rstd, mean_gx, mean_g);
      if (dresidual != nullptr) out += io.Get(dresidual + i);
      io.Put(dx + i, out);
      if (dweight != nullptr) {
        const Vector<S> quotient = value * rstd;
        io.Put(dweight + i,
               io.Get(dweight + i) + grad * (rounds_once ? quotient : RoundTo(quotient, x)));
      }
    });
    dy += columns, x += columns, dx += columns;
    if (dresidual != nullptr) dresidual += columns;
  }
}

// Pairs that are neighbours.
template <class T>
void RotateNeighbours(T* x, const StatisticsT<T>* cos, const StatisticsT<T>* sin, int64_t pairs,
                      StatisticsT<T> sign) {
  using S = StatisticsT<T>;
  for (int64_t i = 0; i < pairs; ++i) {
    const Vector<S> pair = LoadPart(x + 2 * i, 2);
    S first = pair[0], second = pair[1];
    RotatePair<S>(first, second, cos[i], sin[i] * sign);
    Vector<S> turned = Vector<S>();
    turned[0] = first;
    turned[1] = second;
    StorePart(x + 2 * i, turned, 2);
  }
}

template <class T>
void Rope(T* x, const StatisticsT<T>* cos, const StatisticsT<T>* sin, const int64_t* positions,
          int64_t rows, int64_t heads, int64_t head_dim, bool inverse, int64_t turned,
          bool interleaved) {
  using S = StatisticsT<T>;
  const int64_t half = turned / 2;
  const S sign = inverse ? S(-1) : S(1);
  for (int64_t r = 0; r < rows; ++r) {
    const S *c = cos + positions[r] * half, *s = sin + positions[r] * half;
    for (int64_t h = 0; h < heads; ++h, x += head_dim) {
      if (interleaved) {
        RotateNeighbours(x, c, s, half, sign);
        continue;
      }
      ForEachVector<S>(half, [&](int64_t i, auto io) {
        Vector<S> first = io.Get(x + i), second = io.Get(x + half + i);
        RotatePair<Vector<S>>(first, second, io.Get(c + i), io.Get(s + i) * sign);
        io.Put(x + i, first);
        io.Put(x + half + i, second);
      });
    }
  }
}

template <class Gate, class T>
void GluRows(const T* gate, const T* up, T* hidden, int64_t count) {
  using S = StatisticsT<T>;
  ForEachVector<S>(count, [&](int64_t i, auto io) {
    io.Put(hidden + i, Glu<Gate, Vector<S>>(io.Get(gate + i), io.Get(up + i)));
  });
}
template <class T>
void GluForward(const T* gate, const T* up, T* hidden, int64_t count, const GluForm& form) {
  using S = StatisticsT<T>;
  if (form.activation == Activation::kClampedSwish) {
    const S limit = static_cast<S>(form.limit), alpha = static_cast<S>(form.alpha);
    return ForEachVector<S>(count, [&](int64_t i, auto io) {
      io.Put(hidden + i, ClampedGlu<Vector<S>>(io.Get(gate + i), io.Get(up + i), limit, alpha));
    });
  }
  const bool silu = form.activation == Activation::kSilu;
  (silu ? GluRows<SiluGate, T> : GluRows<GeluTanhGate, T>)(gate, up, hidden, count);
}

// gradient(dhidden, gate, up) -> GluGradient, of vectors.
template <class T, class Gradient>
void GluBackwardRows(const T* dhidden, T* gate, T* up, T* hidden, int64_t count,
                     const Gradient& gradient) {
  using S = StatisticsT<T>;
  ForEachVector<S>(count, [&](int64_t i, auto io) {
    const auto g = gradient(io.Get(dhidden + i), io.Get(gate + i), io.Get(up + i));
    io.Put(gate + i, g.dgate);
    io.Put(up + i, g.dup);
    if (hidden != nullptr) io.Put(hidden + i, g.hidden);
  });
}
template <class T>
void GluBackwardInPlace(const T* dhidden, T* gate, T* up, T* hidden, int64_t count,
                        const GluForm& form) {
  using S = StatisticsT<T>;
  using V = Vector<S>;
  if (form.activation == Activation::kClampedSwish) {
    const S limit = static_cast<S>(form.limit), alpha = static_cast<S>(form.alpha);
    GluBackwardRows(dhidden, gate, up, hidden, count, [&](const V& dh, const V& g, const V& u) {
      return ClampedGluBackward<V>(dh, g, u, limit, alpha);
    });
  } else if (form.activation == Activation::kSilu) {
    GluBackwardRows(dhidden, gate, up, hidden, count, [](const V& dh, const V& g, const V& u) {
      return GluBackward<SiluGate, V>(dh, g, u);
    });
  } else {
    GluBackwardRows(dhidden, gate, up, hidden, count, [](const V& dh, const V& g, const V& u) {
      return GluBackward<GeluTanhGate, V>(dh, g, u);
    });
  }
}

template <class T>
void SoftCapInPlace(T* x, int64_t count, double cap) {
  using S = StatisticsT<T>;
  ForEachVector<S>(
      count, [&](int64_t i, auto io) { io.Put(x + i, SoftCap<Vector<S>>(io.Get(x + i), S(cap))); });
}

// Random words of kDropoutBlocks consecutive Philox blocks, in element order. Structure of arrays,
// so that the compiler runs a vector of blocks through the ten rounds together.
inline constexpr int kDropoutBlocks = 32;
FT_INLINE void PhiloxWords(uint64_t key, uint64_t stream, uint64_t first_block, uint32_t* words) {
  PhiloxBlock blocks[kDropoutBlocks];
  for (int i = 0; i < kDropoutBlocks; ++i) {
    blocks[i] = Philox4x32(key, first_block + static_cast<uint64_t>(i), stream);
  }
  __builtin_memcpy(words, blocks, sizeof(blocks));
}

template <class T>
void Dropout(const T* x, const int64_t* tokens, T* y, int64_t rows, int64_t columns,
             const DropoutSlice& slice) {
  using S = StatisticsT<T>;
  const S scale = S(1.0 / (1.0 - slice.p));
  const float threshold = static_cast<float>(slice.p);
  constexpr int64_t kWords = 4 * kDropoutBlocks;
  uint32_t words[kWords];
  S factors[kWords];
  for (int64_t r = 0; r < rows; ++r, x += columns, y += columns) {
    const uint64_t begin = static_cast<uint64_t>(tokens[r] * slice.features + slice.offset);
    int64_t skip =
        static_cast<int64_t>(begin % 4);  // words of the first block that precede the slice
    uint64_t block = begin / 4;
    for (int64_t j = 0; j < columns;) {
      PhiloxWords(slice.key, slice.stream, block, words);
      for (int64_t i = 0; i < kWords; ++i) {
        factors[i] = UniformFromBits(words[i]) >= threshold ? scale : S(0);
      }
      const int64_t count = columns - j < kWords - skip ? columns - j : kWords - skip;
      ForEachVector<S>(count, [&](int64_t i, auto io) {
        io.Put(y + j + i, io.Get(x + j + i) * io.Get(factors + skip + i));
      });
      j += count;
      block += kDropoutBlocks;
      skip = 0;
    }
  }
}

// One pass in blocks that stay in the nearest cache: the block's maximum, then its sum under the
// running maximum.
template <class T>
void CrossEntropyStats(const T* logits, const int64_t* targets, StatisticsT<T>* stats, int64_t rows,
                       int64_t vocab, int64_t vocab_offset) {
  using S = StatisticsT<T>;
  constexpr int64_t kBlock = 2048;
  for (int64_t r = 0; r < rows; ++r, logits += vocab, stats += 3) {
    S max = -__builtin_inff(), sum = 0;
    for (int64_t begin = 0; begin < vocab; begin += kBlock) {
      const T* block = logits + begin;
      const int64_t count = vocab - begin < kBlock ? vocab - begin : kBlock;
      Vector<S> maxima[4] = {Vector<S>() + max, Vector<S>() + max, Vector<S>() + max,
                             Vector<S>() + max};
      int64_t i = 0;
      for (; i + 4 * kLanes<S> <= count; i += 4 * kLanes<S>) {
#pragma GCC unroll 4
        for (int u = 0; u < 4; ++u) {
          const Vector<S> v = Load(block + i + u * kLanes<S>);
          maxima[u] = v > maxima[u] ? v : maxima[u];
        }
      }
      const S old_max = max;
      for (int u = 0; u < 4; ++u) {
        const S lane_max = MaxLanes<S>(maxima[u]);
        max = lane_max > max ? lane_max : max;
      }
      for (; i < count; ++i) {
        const S value = LoadPart(block + i, 1)[0];
        max = value > max ? value : max;
      }
      const int64_t whole = count - count % kLanes<S>;
      S block_sum = SumOverRow<S>(
          whole, [&](int64_t at, auto io) { return Exp<Vector<S>>(io.Get(block + at) - max); });
      for (i = whole; i < count; ++i) block_sum += Exp<S>(LoadPart(block + i, 1)[0] - max);
      sum = sum * Exp<S>(old_max - max) + block_sum;
    }
    const int64_t target = targets[r] - vocab_offset;
    const bool local = target >= 0 && target < vocab;
    stats[0] = max;
    stats[1] = sum;
    stats[2] = local ? LoadPart(logits + target, 1)[0] : S(0);
  }
}

template <class T>
void CrossEntropyBackward(T* logits, const StatisticsT<T>* lse, const int64_t* targets,
                          const StatisticsT<T>* coefficients, int64_t rows, int64_t vocab,
                          int64_t vocab_offset, double soft_cap) {
  using S = StatisticsT<T>;
  for (int64_t r = 0; r < rows; ++r, logits += vocab) {
    const int64_t target = targets[r] - vocab_offset;
    const bool local = target >= 0 && target < vocab;
    const S target_logit = local ? LoadPart(logits + target, 1)[0] : S(0);
    const S cap = S(soft_cap);
    ForEachVector<S>(vocab, [&](int64_t i, auto io) {
      const Vector<S> logit = io.Get(logits + i);
      const Vector<S> gradient =
          CrossEntropyGradient<Vector<S>>(logit, lse[r], S(0), coefficients[r]);
      io.Put(logits + i, cap == 0 ? gradient : gradient * SoftCapDerivative(logit, cap));
    });
    if (local) {
      S value = CrossEntropyGradient<S>(target_logit, lse[r], S(1), coefficients[r]);
      if (cap != 0) value *= SoftCapDerivative(target_logit, cap);
      StorePart(logits + target, Vector<S>() + value, 1);
    }
  }
}

template <class T>
void Accumulate(StatisticsT<T>* accumulator, const T* value, int64_t count) {
  ForEachVector<StatisticsT<T>>(count, [&](int64_t i, auto io) {
    io.Put(accumulator + i, io.Get(accumulator + i) + io.Get(value + i));
  });
}

template <class T>
void Widen(const T* x, StatisticsT<T>* y, int64_t count) {
  ForEachVector<StatisticsT<T>>(count, [&](int64_t i, auto io) { io.Put(y + i, io.Get(x + i)); });
}

template <class T>
void Round(const StatisticsT<T>* x, T* y, int64_t count) {
  ForEachVector<StatisticsT<T>>(count, [&](int64_t i, auto io) { io.Put(y + i, io.Get(x + i)); });
}
