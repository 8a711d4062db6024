// What the model's .cu files share: widening loads, sums of teams, choice of packs and dtypes. CUDA
// C++17 only.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <initializer_list>
#include <type_traits>

#include "model/kernels/cuda/rows.h"
#include "model/kernels/element_math.h"
#include "runtime/process/cuda_kernel.h"

namespace fttrain::cuda {

template <class T>
struct Statistics {
  using Type = float;
};
template <>
struct Statistics<double> {
  using Type = double;
};

__device__ __forceinline__ float Widen(float x) { return x; }
__device__ __forceinline__ double Widen(double x) { return x; }
__device__ __forceinline__ float Widen(__nv_bfloat16 x) { return __bfloat162float(x); }
__device__ __forceinline__ float Widen(__half x) { return __half2float(x); }
template <class T>
__device__ __forceinline__ T Narrow(typename Statistics<T>::Type x) {
  return x;
}
template <>
__device__ __forceinline__ __nv_bfloat16 Narrow<__nv_bfloat16>(float x) {
  return __float2bfloat16_rn(x);
}
template <>
__device__ __forceinline__ __half Narrow<__half>(float x) {
  return __float2half_rn(x);
}
// The value after a round trip through T.
template <class T>
__device__ __forceinline__ typename Statistics<T>::Type RoundTo(typename Statistics<T>::Type x) {
  return Widen(Narrow<T>(x));
}

// to[e] += values[e], in packs of at most 16 bytes.
template <class S, int N>
__device__ __forceinline__ void AddTo(S* to, const Pack<S, N>& values) {
  constexpr int kStep = N < kPack<S> ? N : kPack<S>;
  for (int part = 0; part < N; part += kStep) {
    Pack<S, kStep> sum = LoadPack<S, kStep>(to + part);
    for (int e = 0; e < kStep; ++e) sum.v[e] += values.v[part + e];
    StorePack<S, kStep>(to + part, sum);
  }
}

// The mask of `lanes` neighbours (a power of two, at most 32), the calling thread among them.
__device__ __forceinline__ unsigned NeighboursMask(int lanes) {
  return lanes == 32 ? 0xffffffffU : ((1U << lanes) - 1U) << (threadIdx.x % 32 / lanes * lanes);
}

// The threads that walk one row together: `lanes` neighbours or, if 0, the block.
struct Team {
  int lanes;
  unsigned size, rank;   // threads, and which of them this is
  int64_t index, count;  // which team of the grid, and how many there are

  explicit __device__ __forceinline__ Team(int lanes_or_0)
      : lanes(lanes_or_0),
        size(lanes == 0 ? blockDim.x : static_cast<unsigned>(lanes)),
        rank(threadIdx.x % size),
        index(static_cast<int64_t>(blockIdx.x) * (blockDim.x / size) + threadIdx.x / size),
        count(static_cast<int64_t>(gridDim.x) * (blockDim.x / size)) {}

  // As BlockSum, over the team: in the order of a block of one warp whose other lanes have 0.
  template <class S>
  __device__ __forceinline__ S Sum(S value, S* shared) const {
    if (lanes == 0) return BlockSum(value, shared);
    for (int offset = lanes / 2; offset > 0; offset /= 2) {
      value += __shfl_xor_sync(NeighboursMask(lanes), value, offset);
    }
    return S(0) + value;  // never -0, as there
  }
};

// Threads of a block that walks one row of `packs` packs: whole warps, at most 512.
inline unsigned RowThreads(int64_t packs) {
  const int64_t threads = (packs + 31) / 32 * 32;
  return static_cast<unsigned>(threads < 32 ? 32 : threads > 512 ? 512 : threads);
}
// Blocks of 256 threads that cover `items`.
inline unsigned FlatBlocks(int64_t items) { return static_cast<unsigned>((items + 255) / 256); }

// Launch of a kernel whose teams have a row of `packs` packs each: short rows share blocks.
struct TeamGrid {
  unsigned blocks, threads;
  int lanes;
};
inline TeamGrid TeamsOf(int64_t rows, int64_t packs) {
  if (packs > 32) return {static_cast<unsigned>(rows), RowThreads(packs), 0};
  int lanes = 1;
  while (lanes < packs) lanes *= 2;
  return {FlatBlocks(rows * lanes), 256, lanes};
}

// body(T{}) for the element type.
template <class Body>
void WithDtype(Dtype type, const Body& body) {
  switch (type) {
    case Dtype::kFloat64:
      return body(double{});
    case Dtype::kFloat32:
      return body(float{});
    case Dtype::kBfloat16:
      return body(__nv_bfloat16{});
    case Dtype::kFloat16:
      return body(__half{});
  }
}

// body(T{}, std::integral_constant<int, N>()) for the element type and the elements that move at
// once: 16 bytes where rows of `columns` elements at all of these addresses (null: none) allow it,
// else one.
template <class Body>
void WithPacks(Dtype type, int64_t columns, std::initializer_list<const void*> addresses,
               const Body& body) {
  WithDtype(type, [&](auto tag) {
    if (columns % kPack<decltype(tag)> == 0 && AreAligned(addresses)) {
      body(tag, std::integral_constant<int, kPack<decltype(tag)>>());
    } else {
      body(tag, std::integral_constant<int, 1>());
    }
  });
}

}  // namespace fttrain::cuda
