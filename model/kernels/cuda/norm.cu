// RMSNorm and LayerNorm: one team of threads per row; the row is read again from cache once its
// statistics are known.
#include "model/kernels/cuda/common.h"

namespace fttrain::cuda {
namespace {

// The mean of a row, and the sum of squares about it. On every thread of the team.
template <class S>
struct RowMoments {
  S mean, squares;
};
template <class T, int N, class S>
__device__ RowMoments<S> CenteredMoments(const Team& team, const T* row, int64_t columns,
                                         S* shared) {
  S sum = 0, squares = 0;
  for (int64_t i = team.rank * N; i < columns; i += team.size * N) {
    const Pack<T, N> values = LoadPack<T, N>(row + i);
    for (int e = 0; e < N; ++e) sum += Widen(values.v[e]);
  }
  const S mean = team.Sum(sum, shared) / S(columns);
  for (int64_t i = team.rank * N; i < columns; i += team.size * N) {
    const Pack<T, N> values = LoadPack<T, N>(row + i);
    for (int e = 0; e < N; ++e) {
      const S value = Widen(values.v[e]) - mean;
      squares += value * value;
    }
  }
  return {mean, team.Sum(squares, shared)};
}

template <class T, int N>
__global__ void NormKernel(T* x, const T* delta, const T* weight, T* y, int64_t rows,
                           int64_t columns, NormForm form, int lanes) {
  using S = typename Statistics<T>::Type;
  __shared__ S shared[32];
  const Team team(lanes);
  if (team.index >= rows) return;
  const int64_t row = team.index * columns, begin = team.rank * N, step = team.size * N;
  S squares = 0, mean = 0;
  for (int64_t i = begin; i < columns; i += step) {
    Pack<T, N> values = LoadPack<T, N>(x + row + i);
    if (delta != nullptr) {
      const Pack<T, N> added = LoadPack<T, N>(delta + row + i);
      for (int e = 0; e < N; ++e) values.v[e] = Narrow<T>(Widen(values.v[e]) + Widen(added.v[e]));
      StorePack<T, N>(x + row + i, values);
    }
    for (int e = 0; e < N; ++e) squares += Widen(values.v[e]) * Widen(values.v[e]);
  }
  squares = team.Sum(squares, shared);
  if (form.centered) {
    const RowMoments<S> moments = CenteredMoments<T, N, S>(team, x + row, columns, shared);
    mean = moments.mean;
    squares = moments.squares;
  }
  const S rstd = S(1) / sqrt(squares / S(columns) + S(form.eps)), offset = S(form.offset);
  for (int64_t i = begin; i < columns; i += step) {
    Pack<T, N> values = LoadPack<T, N>(x + row + i);
    const Pack<T, N> weights = LoadPack<T, N>(weight + i);
    for (int e = 0; e < N; ++e) {
      const S quotient = (Widen(values.v[e]) - mean) * rstd;
      values.v[e] = Narrow<T>((form.rounds_once ? quotient : RoundTo<T>(quotient)) *
                              (Widen(weights.v[e]) + offset));
    }
    StorePack<T, N>(y + row + i, values);
  }
}

// Teams stride over the rows; with partial_dweight, each team (a block) owns one row of it, which
// stays in cache.
template <class T, int N>
__global__ void NormBackwardKernel(const T* dy, const T* x, const T* weight, const T* dresidual,
                                   T* dx, typename Statistics<T>::Type* partial_dweight,
                                   int64_t rows, int64_t columns, NormForm form, int lanes) {
  using S = typename Statistics<T>::Type;
  __shared__ S shared[32];
  const Team team(lanes);
  const int64_t begin = team.rank * N, step = team.size * N;
  const S offset = S(form.offset);
  S* dweight = partial_dweight == nullptr ? nullptr : partial_dweight + team.index * columns;
  if (dweight != nullptr) {
    for (int64_t i = begin; i < columns; i += step) {
      for (int e = 0; e < N; ++e) dweight[i + e] = 0;
    }
  }
  for (int64_t r = team.index; r < rows; r += team.count) {
    const int64_t row = r * columns;
    RowMoments<S> moments{};
    if (form.centered) moments = CenteredMoments<T, N, S>(team, x + row, columns, shared);
    const S mean = moments.mean;
    S squares = 0, products = 0, gradients = 0;
    for (int64_t i = begin; i < columns; i += step) {
      const Pack<T, N> values = LoadPack<T, N>(x + row + i), grads = LoadPack<T, N>(dy + row + i);
      const Pack<T, N> weights = LoadPack<T, N>(weight + i);
      for (int e = 0; e < N; ++e) {
        const S value = Widen(values.v[e]) - mean;
        const S gradient = Widen(grads.v[e]) * (Widen(weights.v[e]) + offset);
        squares += value * value;
        products += gradient * value;
        gradients += gradient;
      }
    }
    const S rstd = S(1) / sqrt(team.Sum(squares, shared) / S(columns) + S(form.eps));
    const S mean_gx = team.Sum(products, shared) / S(columns) * rstd * rstd;
    const S mean_g = form.centered ? team.Sum(gradients, shared) / S(columns) : S(0);
    for (int64_t i = begin; i < columns; i += step) {
      const Pack<T, N> values = LoadPack<T, N>(x + row + i), grads = LoadPack<T, N>(dy + row + i);
      const Pack<T, N> weights = LoadPack<T, N>(weight + i);
      Pack<T, N> residual{}, out;
      if (dresidual != nullptr) residual = LoadPack<T, N>(dresidual + row + i);
      for (int e = 0; e < N; ++e) {
        const S value = Widen(values.v[e]) - mean, factor = Widen(weights.v[e]) + offset;
        const S gradient =
            fttrain::NormInputGradient(Widen(grads.v[e]), factor, value, rstd, mean_gx, mean_g);
        out.v[e] = Narrow<T>(dresidual == nullptr ? gradient : gradient + Widen(residual.v[e]));
      }
      if (dweight != nullptr) {
        Pack<S, N> terms;
        for (int e = 0; e < N; ++e) {
          const S quotient = (Widen(values.v[e]) - mean) * rstd;
          terms.v[e] = Widen(grads.v[e]) * (form.rounds_once ? quotient : RoundTo<T>(quotient));
        }
        AddTo(dweight + i, terms);
      }
      StorePack<T, N>(dx + row + i, out);
    }
  }
}

}  // namespace

void Norm(Dtype type, void* x, const void* delta, const void* weight, void* y, int64_t rows,
          int64_t columns, const NormForm& form, void* stream) {
  if (rows == 0) return;
  WithPacks(type, columns, {x, delta, weight, y}, [&](auto tag, auto n) {
    const TeamGrid grid = TeamsOf(rows, columns / n);
    Launch("Norm", NormKernel<decltype(tag), n>, grid.blocks, grid.threads, stream, x, delta,
           weight, y, rows, columns, form, grid.lanes);
  });
}

void NormBackward(Dtype type, const void* dy, const void* x, const void* weight,
                  const void* dresidual, void* dx, void* partial_dweight, int64_t rows,
                  int64_t columns, const NormForm& form, void* stream) {
  if (rows == 0 && partial_dweight == nullptr) return;
  WithPacks(type, columns, {dy, x, weight, dresidual, dx, partial_dweight}, [&](auto tag, auto n) {
    TeamGrid grid = TeamsOf(rows, columns / n);
    if (partial_dweight != nullptr) grid = {kDweightParts, RowThreads(columns / n), 0};
    Launch("NormBackward", NormBackwardKernel<decltype(tag), n>, grid.blocks, grid.threads, stream,
           dy, x, weight, dresidual, dx, partial_dweight, rows, columns, form, grid.lanes);
  });
}

}  // namespace fttrain::cuda
