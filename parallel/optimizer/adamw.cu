// An element is read and written once: 28 bytes of float32, 30 with a rounded copy. Compiled
// without fused multiply-adds (CMakeLists.txt): equal to the CPU's loop bit by bit.
#include <type_traits>

#include "parallel/optimizer/adamw_cuda.h"
#include "runtime/math/ceil_divide.h"
#include "runtime/process/cuda_kernel.h"

namespace fttrain::cuda {
namespace {

constexpr int kThreads = 256;

template <class T, int N>
__device__ __forceinline__ void UpdatePack(const AdamWOperands<T>& o, int64_t i,
                                           const AdamWCoefficients<T>& c) {
  auto param = LoadPack<T, N>(o.param + i), m = LoadPack<T, N>(o.exp_avg + i),
       v = LoadPack<T, N>(o.exp_avg_sq + i);
  const auto grad = LoadPack<T, N>(o.grad + i);
  for (int e = 0; e < N; ++e) {
    const AdamWElement<T> updated =
        AdamWUpdated(AdamWElement<T>{param.v[e], m.v[e], v.v[e]}, grad.v[e], c);
    param.v[e] = updated.param;
    m.v[e] = updated.exp_avg;
    v.v[e] = updated.exp_avg_sq;
  }
  StorePack(o.param + i, param);
  StorePack(o.exp_avg + i, m);
  StorePack(o.exp_avg_sq + i, v);
  if constexpr (std::is_same_v<T, float>) {
    if (o.rounded == nullptr) return;
    Pack<Bf16, N> rounded;
    for (int e = 0; e < N; ++e) rounded.v[e] = Bf16FromFloat(param.v[e]);
    StorePack(o.rounded + i, rounded);
  }
}

// A pack a thread; the last one may be shorter.
template <class T, int N>
__global__ void __launch_bounds__(kThreads)
    AdamWKernel(AdamWOperands<T> operands, AdamWCoefficients<T> c) {
  const int64_t begin = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) * N;
  if (begin + N <= operands.n) return UpdatePack<T, N>(operands, begin, c);
  for (int64_t i = begin; i < operands.n; ++i) UpdatePack<T, 1>(operands, i, c);
}

template <class T, int N>
void LaunchPacks(const AdamWOperands<T>& operands, const AdamWCoefficients<T>& c, void* stream) {
  const int64_t each = int64_t{kThreads} * N, blocks = CeilDivide(operands.n, each);
  Launch("AdamW", AdamWKernel<T, N>, static_cast<unsigned>(blocks), kThreads, stream, operands, c);
}

}  // namespace

template <class T>
void AdamW(const AdamWOperands<T>& o, const AdamWCoefficients<T>& coefficients, void* stream) {
  if (o.n == 0) return;
  if (AreAligned({o.param, o.grad, o.exp_avg, o.exp_avg_sq, o.rounded})) {
    LaunchPacks<T, kPack<T>>(o, coefficients, stream);
  } else {
    LaunchPacks<T, 1>(o, coefficients, stream);
  }
}

template void AdamW(const AdamWOperands<float>&, const AdamWCoefficients<float>&, void*);
template void AdamW(const AdamWOperands<double>&, const AdamWCoefficients<double>&, void*);

}  // namespace fttrain::cuda
