// Products of few rows with the transpose of a matrix; included by each <isa>.cc inside namespace
// fttrain::FT_ISA. The matrix is read once, along its rows as they lie in memory, and widened in
// registers. What bounds a product of one row is the memory it comes from, and that is fastest in
// one stream; with several, pairs of the matrix's rows share what is loaded of `a`. Every sum is
// formed in the same order in all tiles: a row's results do not depend on the others.

#if defined(__AVX512F__)
inline constexpr int kFewLeft = 8;
#else
inline constexpr int kFewLeft = 4;
#endif

template <class T, int kLeft, int kRight, class Io>
FT_INLINE void FewRowsStep(const FewRows<T>& p, const StatisticsT<T>* a, const T* b, const Io& io,
                           Vector<StatisticsT<T>> (&sum)[kLeft][kRight]) {
  using S = StatisticsT<T>;
  Vector<S> right[kRight];
#pragma GCC unroll 8
  for (int n = 0; n < kRight; ++n) {
    right[n] = io.Get(b + n * p.b_stride);
    // Where there is much to do with what has come, the processor does not look ahead itself.
    if (kLeft > 1) __builtin_prefetch(b + (n + 2 * kRight) * p.b_stride);
  }
#pragma GCC unroll 8
  for (int m = 0; m < kLeft; ++m) {
    const Vector<S> left = io.Get(a + m * p.a_stride);
#pragma GCC unroll 8
    for (int n = 0; n < kRight; ++n) sum[m][n] += left * right[n];
  }
}

// Rows of `a` from `row` on by rows of `b` from `column` on.
template <class T, int kLeft, int kRight>
FT_INLINE void FewRowsTile(const FewRows<T>& p, int64_t row, int64_t column) {
  using S = StatisticsT<T>;
  const S* a = p.a + row * p.a_stride;
  const T* b = p.b + column * p.b_stride;
  Vector<S> sum[kLeft][kRight] = {};
  int64_t i = 0;
#pragma GCC unroll 2
  for (; i + kLanes<S> <= p.inner; i += kLanes<S>) FewRowsStep<T>(p, a + i, b + i, Whole{}, sum);
  if (i < p.inner) FewRowsStep<T>(p, a + i, b + i, Part{p.inner - i}, sum);
#pragma GCC unroll 8
  for (int m = 0; m < kLeft; ++m) {
#pragma GCC unroll 8
    for (int n = 0; n < kRight; ++n) {
      p.sum[(row + m) * p.sum_stride + column + n] += p.alpha * SumInRegister<S>(sum[m][n]);
    }
  }
}

template <class T>
void MultiplyFewRows(const FewRows<T>& p) {
  for (int64_t column = 0; column < p.columns; column += 2) {
    const bool pair = column + 2 <= p.columns;
    int64_t row = 0;
    for (; pair && row + kFewLeft <= p.rows; row += kFewLeft) {
      FewRowsTile<T, kFewLeft, 2>(p, row, column);
    }
    for (; pair && row + 2 <= p.rows; row += 2) FewRowsTile<T, 2, 2>(p, row, column);
    for (; row < p.rows; ++row) {
      FewRowsTile<T, 1, 1>(p, row, column);
      if (pair) FewRowsTile<T, 1, 1>(p, row, column + 1);
    }
  }
}
