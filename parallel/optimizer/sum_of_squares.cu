// Sums of parts of equal size, then the sum of these: without atomics, so that the order depends on
// n alone. Memory-bound.
#include "parallel/optimizer/sum_of_squares_cuda.h"
#include "runtime/process/cuda_kernel.h"

namespace fttrain::cuda {
namespace {

constexpr int kThreads = 256;

// The values of a pack that are there, then zeros. The same pack with and without kAligned: which
// elements a thread adds up does not depend on where they lie.
template <class T, bool kAligned>
__device__ __forceinline__ Pack<T, kPack<T>> LoadUpTo(const T* from, int64_t left) {
  if (kAligned && left >= kPack<T>) return LoadPack<T, kPack<T>>(from);
  Pack<T, kPack<T>> pack = {};
  for (int e = 0; e < kPack<T> && e < left; ++e) pack.v[e] = from[e];
  return pack;
}

template <class T, bool kAligned>
__global__ void __launch_bounds__(kThreads)
    SumPartsKernel(const T* values, int64_t n, double* parts) {
  __shared__ double shared[32];
  const int64_t begin = static_cast<int64_t>(blockIdx.x) * kSumOfSquaresPart;
  const int64_t end = min(n, begin + kSumOfSquaresPart);
  double sum = 0;
  for (int64_t i = begin + threadIdx.x * kPack<T>; i < end; i += kThreads * kPack<T>) {
    const auto pack = LoadUpTo<T, kAligned>(values + i, end - i);
    for (int e = 0; e < kPack<T>; ++e) {
      sum += static_cast<double>(pack.v[e]) * static_cast<double>(pack.v[e]);
    }
  }
  sum = BlockSum(sum, shared);
  if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

// One block.
__global__ void __launch_bounds__(kThreads)
    AddPartsKernel(const double* parts, int64_t count, double* total) {
  __shared__ double shared[32];
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += kThreads) sum += parts[i];
  sum = BlockSum(sum, shared);
  if (threadIdx.x == 0) *total += sum;
}

}  // namespace

template <class T>
void AddSumOfSquares(const T* values, int64_t n, double* parts, double* total, void* stream) {
  if (n == 0) return;
  const int64_t count = SumOfSquaresParts(n);
  const auto sum_parts = AreAligned({values}) ? SumPartsKernel<T, true> : SumPartsKernel<T, false>;
  Launch("SumOfSquares", sum_parts, static_cast<unsigned>(count), kThreads, stream, values, n,
         parts);
  Launch("SumOfSquares", AddPartsKernel, 1, kThreads, stream, parts, count, total);
}

template void AddSumOfSquares(const float*, int64_t, double*, double*, void*);
template void AddSumOfSquares(const double*, int64_t, double*, double*, void*);

}  // namespace fttrain::cuda
