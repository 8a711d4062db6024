// RMSNorm: one team of threads per row; the row is read again from cache once its statistics are
// known.
#include "model/kernels/cuda/common.h"

namespace fttrain::cuda {
namespace {

template <class T, int N>
__global__ void RmsNormKernel(T* x, const T* delta, const T* weight, T* y, int64_t rows,
                              int64_t columns, double eps, int lanes) {
  using S = typename Statistics<T>::Type;
  __shared__ S shared[32];
  const Team team(lanes);
  if (team.index >= rows) return;
  const int64_t row = team.index * columns, begin = team.rank * N, step = team.size * N;
  S squares = 0;
  for (int64_t i = begin; i < columns; i += step) {
    Pack<T, N> values = LoadPack<T, N>(x + row + i);
    if (delta != nullptr) {
      const Pack<T, N> added = LoadPack<T, N>(delta + row + i);
      for (int e = 0; e < N; ++e) values.v[e] = Narrow<T>(Widen(values.v[e]) + Widen(added.v[e]));
      StorePack<T, N>(x + row + i, values);
    }
    for (int e = 0; e < N; ++e) squares += Widen(values.v[e]) * Widen(values.v[e]);
  }
  const S rstd = S(1) / sqrt(team.Sum(squares, shared) / S(columns) + S(eps));
  for (int64_t i = begin; i < columns; i += step) {
    Pack<T, N> values = LoadPack<T, N>(x + row + i);
    const Pack<T, N> weights = LoadPack<T, N>(weight + i);
    for (int e = 0; e < N; ++e) {
      values.v[e] = Narrow<T>(RoundTo<T>(Widen(values.v[e]) * rstd) * Widen(weights.v[e]));
    }
    StorePack<T, N>(y + row + i, values);
  }
}

// Teams stride over the rows; with partial_dweight, each team (a block) owns one row of it, which
// stays in cache.
template <class T, int N>
__global__ void RmsNormBackwardKernel(const T* dy, const T* x, const T* weight, const T* dresidual,
                                      T* dx, typename Statistics<T>::Type* partial_dweight,
                                      int64_t rows, int64_t columns, double eps, int lanes) {
  using S = typename Statistics<T>::Type;
  __shared__ S shared[32];
  const Team team(lanes);
  const int64_t begin = team.rank * N, step = team.size * N;
  S* dweight = partial_dweight == nullptr ? nullptr : partial_dweight + team.index * columns;
  if (dweight != nullptr) {
    for (int64_t i = begin; i < columns; i += step) {
      for (int e = 0; e < N; ++e) dweight[i + e] = 0;
    }
  }
  for (int64_t r = team.index; r < rows; r += team.count) {
    const int64_t row = r * columns;
    S squares = 0, products = 0;
    for (int64_t i = begin; i < columns; i += step) {
      const Pack<T, N> values = LoadPack<T, N>(x + row + i), grads = LoadPack<T, N>(dy + row + i);
      const Pack<T, N> weights = LoadPack<T, N>(weight + i);
      for (int e = 0; e < N; ++e) {
        const S value = Widen(values.v[e]);
        squares += value * value;
        products += Widen(grads.v[e]) * Widen(weights.v[e]) * value;
      }
    }
    const S rstd = S(1) / sqrt(team.Sum(squares, shared) / S(columns) + S(eps));
    const S mean_gx = team.Sum(products, shared) / S(columns) * rstd * rstd;
    for (int64_t i = begin; i < columns; i += step) {
      const Pack<T, N> values = LoadPack<T, N>(x + row + i), grads = LoadPack<T, N>(dy + row + i);
      const Pack<T, N> weights = LoadPack<T, N>(weight + i);
      Pack<T, N> residual{}, out;
      if (dresidual != nullptr) residual = LoadPack<T, N>(dresidual + row + i);
      for (int e = 0; e < N; ++e) {
        const S value = Widen(values.v[e]), grad = Widen(grads.v[e]);
        const S gradient = RmsNormGradient(grad * Widen(weights.v[e]), value, rstd, mean_gx);
        out.v[e] = Narrow<T>(dresidual == nullptr ? gradient : gradient + Widen(residual.v[e]));
      }
      if (dweight != nullptr) {
        Pack<S, N> terms;
        for (int e = 0; e < N; ++e) {
          terms.v[e] = Widen(grads.v[e]) * RoundTo<T>(Widen(values.v[e]) * rstd);
        }
        AddTo(dweight + i, terms);
      }
      StorePack<T, N>(dx + row + i, out);
    }
  }
}

}  // namespace

void RmsNorm(Dtype type, void* x, const void* delta, const void* weight, void* y, int64_t rows,
             int64_t columns, double eps, void* stream) {
  if (rows == 0) return;
  WithPacks(type, columns, {x, delta, weight, y}, [&](auto tag, auto n) {
    const TeamGrid grid = TeamsOf(rows, columns / n);
    Launch("RmsNorm", RmsNormKernel<decltype(tag), n>, grid.blocks, grid.threads, stream, x, delta,
           weight, y, rows, columns, eps, grid.lanes);
  });
}

void RmsNormBackward(Dtype type, const void* dy, const void* x, const void* weight,
                     const void* dresidual, void* dx, void* partial_dweight, int64_t rows,
                     int64_t columns, double eps, void* stream) {
  if (rows == 0 && partial_dweight == nullptr) return;
  WithPacks(type, columns, {dy, x, weight, dresidual, dx, partial_dweight}, [&](auto tag, auto n) {
    TeamGrid grid = TeamsOf(rows, columns / n);
    if (partial_dweight != nullptr) grid = {kDweightParts, RowThreads(columns / n), 0};
    Launch("RmsNormBackward", RmsNormBackwardKernel<decltype(tag), n>, grid.blocks, grid.threads,
           stream, dy, x, weight, dresidual, dx, partial_dweight, rows, columns, eps, grid.lanes);
  });
}

}  // namespace fttrain::cuda
