// RMSNorm: one block per row; the row is read again from cache once its statistics are known.
#include "model/kernels/cuda/common.h"

namespace fttrain::cuda {
namespace {

template <class T, int N>
__global__ void RmsNormKernel(T* x, const T* delta, const T* weight, T* y, int64_t columns,
                              double eps) {
  using S = typename Statistics<T>::Type;
  __shared__ S shared[32];
  const int64_t row = static_cast<int64_t>(blockIdx.x) * columns;
  S squares = 0;
  for (int64_t i = threadIdx.x * N; i < columns; i += static_cast<int64_t>(blockDim.x) * N) {
    Pack<T, N> values = LoadPack<T, N>(x + row + i);
    if (delta != nullptr) {
      const Pack<T, N> added = LoadPack<T, N>(delta + row + i);
      for (int e = 0; e < N; ++e) values.v[e] = Narrow<T>(Widen(values.v[e]) + Widen(added.v[e]));
      StorePack<T, N>(x + row + i, values);
    }
    for (int e = 0; e < N; ++e) squares += Widen(values.v[e]) * Widen(values.v[e]);
  }
  const S rstd = S(1) / sqrt(BlockSum(squares, shared) / S(columns) + S(eps));
  for (int64_t i = threadIdx.x * N; i < columns; i += static_cast<int64_t>(blockDim.x) * N) {
    Pack<T, N> values = LoadPack<T, N>(x + row + i);
    const Pack<T, N> weights = LoadPack<T, N>(weight + i);
    for (int e = 0; e < N; ++e) {
      values.v[e] = Narrow<T>(RoundTo<T>(Widen(values.v[e]) * rstd) * Widen(weights.v[e]));
    }
    StorePack<T, N>(y + row + i, values);
  }
}

// Blocks stride over the rows; with partial_dweight each block owns one row of it, which stays in
// cache.
template <class T, int N>
__global__ void RmsNormBackwardKernel(const T* dy, const T* x, const T* weight, const T* dresidual,
                                      T* dx, typename Statistics<T>::Type* partial_dweight,
                                      int64_t rows, int64_t columns, double eps) {
  using S = typename Statistics<T>::Type;
  __shared__ S shared[32];
  const int64_t step = static_cast<int64_t>(blockDim.x) * N;
  S* dweight = partial_dweight == nullptr ? nullptr : partial_dweight + blockIdx.x * columns;
  if (dweight != nullptr) {
    for (int64_t i = threadIdx.x * N; i < columns; i += step) {
      for (int e = 0; e < N; ++e) dweight[i + e] = 0;
    }
  }
  for (int64_t r = blockIdx.x; r < rows; r += gridDim.x) {
    const int64_t row = r * columns;
    S squares = 0, products = 0;
    for (int64_t i = threadIdx.x * N; i < columns; i += step) {
      const Pack<T, N> values = LoadPack<T, N>(x + row + i), grads = LoadPack<T, N>(dy + row + i);
      const Pack<T, N> weights = LoadPack<T, N>(weight + i);
      for (int e = 0; e < N; ++e) {
        const S value = Widen(values.v[e]);
        squares += value * value;
        products += Widen(grads.v[e]) * Widen(weights.v[e]) * value;
      }
    }
    const S rstd = S(1) / sqrt(BlockSum(squares, shared) / S(columns) + S(eps));
    const S mean_gx = BlockSum(products, shared) / S(columns) * rstd * rstd;
    for (int64_t i = threadIdx.x * N; i < columns; i += step) {
      const Pack<T, N> values = LoadPack<T, N>(x + row + i), grads = LoadPack<T, N>(dy + row + i);
      const Pack<T, N> weights = LoadPack<T, N>(weight + i);
      Pack<T, N> residual{}, out;
      if (dresidual != nullptr) residual = LoadPack<T, N>(dresidual + row + i);
      for (int e = 0; e < N; ++e) {
        const S value = Widen(values.v[e]), grad = Widen(grads.v[e]);
        const S gradient = RmsNormGradient(grad * Widen(weights.v[e]), value, rstd, mean_gx);
        out.v[e] = Narrow<T>(dresidual == nullptr ? gradient : gradient + Widen(residual.v[e]));
        if (dweight != nullptr) dweight[i + e] += grad * RoundTo<T>(value * rstd);
      }
      StorePack<T, N>(dx + row + i, out);
    }
  }
}

}  // namespace

void RmsNorm(Dtype type, void* x, const void* delta, const void* weight, void* y, int64_t rows,
             int64_t columns, double eps, void* stream) {
  if (rows == 0) return;
  LaunchPacked("RmsNorm", type, columns, {x, delta, weight, y}, [&](auto tag, auto n) {
    using T = decltype(tag);
    RmsNormKernel<T, n><<<static_cast<unsigned>(rows), RowThreads(columns / n), 0,
                          static_cast<cudaStream_t>(stream)>>>(
        static_cast<T*>(x), static_cast<const T*>(delta), static_cast<const T*>(weight),
        static_cast<T*>(y), columns, eps);
  });
}

void RmsNormBackward(Dtype type, const void* dy, const void* x, const void* weight,
                     const void* dresidual, void* dx, void* partial_dweight, int64_t rows,
                     int64_t columns, double eps, void* stream) {
  const int64_t blocks = partial_dweight != nullptr ? kDweightParts : rows;
  if (blocks == 0) return;
  const auto launch = [&](auto tag, auto n) {
    using T = decltype(tag);
    using S = typename Statistics<T>::Type;
    RmsNormBackwardKernel<T, n><<<static_cast<unsigned>(blocks), RowThreads(columns / n), 0,
                                  static_cast<cudaStream_t>(stream)>>>(
        static_cast<const T*>(dy), static_cast<const T*>(x), static_cast<const T*>(weight),
        static_cast<const T*>(dresidual), static_cast<T*>(dx), static_cast<S*>(partial_dweight),
        rows, columns, eps);
  };
  LaunchPacked("RmsNormBackward", type, columns, {dy, x, weight, dresidual, dx}, launch);
}

}  // namespace fttrain::cuda
