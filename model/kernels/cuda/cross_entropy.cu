// Cross entropy over a vocabulary slice: one block per row.
#include "model/kernels/cuda/common.h"

namespace fttrain::cuda {
namespace {

// Sum of exponentials under a running maximum.
template <class S>
struct RunningSum {
  S max, sum;
  __device__ __forceinline__ void Join(S other_max, S other_sum) {
    const S both = other_max > max ? other_max : max;
    sum = sum * Scale(max, both) + other_sum * Scale(other_max, both);
    max = both;
  }
  // exp(from - to), 0 for an empty sum (-inf), without inf - inf.
  static __device__ __forceinline__ S Scale(S from, S to) {
    return from == to ? S(1) : Exp(from - to);
  }
};

template <class T, int N>
__global__ void CrossEntropyStatsKernel(const T* logits, const int64_t* targets,
                                        typename Statistics<T>::Type* stats, int64_t vocab,
                                        int64_t vocab_offset) {
  using S = typename Statistics<T>::Type;
  __shared__ S shared_max[32], shared_sum[32];
  const T* row = logits + blockIdx.x * vocab;
  RunningSum<S> running{S(-INFINITY), S(0)};
  for (int64_t i = threadIdx.x * N; i < vocab; i += static_cast<int64_t>(blockDim.x) * N) {
    const Pack<T, N> pack = LoadPack<T, N>(row + i);
    S max = Widen(pack.v[0]), sum = 0;
    for (int e = 1; e < N; ++e) max = Widen(pack.v[e]) > max ? Widen(pack.v[e]) : max;
    const S origin = max == S(-INFINITY) ? S(0) : max;  // without inf - inf
    for (int e = 0; e < N; ++e) sum += Exp(Widen(pack.v[e]) - origin);
    running.Join(max, sum);
  }
  for (int offset = 16; offset > 0; offset /= 2) {
    const S max = __shfl_xor_sync(0xffffffffu, running.max, offset);
    const S sum = __shfl_xor_sync(0xffffffffu, running.sum, offset);
    running.Join(max, sum);
  }
  if (threadIdx.x % 32 == 0) {
    shared_max[threadIdx.x / 32] = running.max;
    shared_sum[threadIdx.x / 32] = running.sum;
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (unsigned warp = 1; warp < blockDim.x / 32; ++warp)
    running.Join(shared_max[warp], shared_sum[warp]);
  const int64_t target = targets[blockIdx.x] - vocab_offset;
  S* out = stats + static_cast<int64_t>(blockIdx.x) * 3;
  out[0] = running.max;
  out[1] = running.sum;
  out[2] = target >= 0 && target < vocab ? Widen(row[target]) : S(0);
}

template <class T, int N>
__global__ void CrossEntropyBackwardKernel(T* logits, const typename Statistics<T>::Type* lse,
                                           const int64_t* targets,
                                           const typename Statistics<T>::Type* coefficients,
                                           int64_t vocab, int64_t vocab_offset, double soft_cap) {
  using S = typename Statistics<T>::Type;
  T* row = logits + blockIdx.x * vocab;
  const S row_lse = lse[blockIdx.x], coefficient = coefficients[blockIdx.x];
  const int64_t target = targets[blockIdx.x] - vocab_offset;
  for (int64_t i = threadIdx.x * N; i < vocab; i += static_cast<int64_t>(blockDim.x) * N) {
    Pack<T, N> pack = LoadPack<T, N>(row + i);
    for (int e = 0; e < N; ++e) {
      const S is_target = i + e == target ? S(1) : S(0), logit = Widen(pack.v[e]);
      const S gradient = CrossEntropyGradient(logit, row_lse, is_target, coefficient);
      pack.v[e] =
          Narrow<T>(soft_cap == 0 ? gradient : gradient * SoftCapDerivative(logit, S(soft_cap)));
    }
    StorePack<T, N>(row + i, pack);
  }
}

}  // namespace

void CrossEntropyStats(Dtype type, const void* logits, const int64_t* targets, void* stats,
                       int64_t rows, int64_t vocab, int64_t vocab_offset, void* stream) {
  if (rows == 0) return;
  WithPacks(type, vocab, {logits}, [&](auto tag, auto n) {
    Launch("CrossEntropyStats", CrossEntropyStatsKernel<decltype(tag), n>,
           static_cast<unsigned>(rows), RowThreads(vocab / n), stream, logits, targets, stats,
           vocab, vocab_offset);
  });
}

void CrossEntropyBackward(Dtype type, void* logits, const void* lse, const int64_t* targets,
                          const void* coefficients, int64_t rows, int64_t vocab,
                          int64_t vocab_offset, double soft_cap, void* stream) {
  if (rows == 0) return;
  WithPacks(type, vocab, {logits}, [&](auto tag, auto n) {
    Launch("CrossEntropyBackward", CrossEntropyBackwardKernel<decltype(tag), n>,
           static_cast<unsigned>(rows), RowThreads(vocab / n), stream, logits, lse, targets,
           coefficients, vocab, vocab_offset, soft_cap);
  });
}

}  // namespace fttrain::cuda
