// What the .cu files share: 16-byte packs, widening loads, block sums, dtype dispatch. CUDA C++17
// only.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>

#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <type_traits>

#include "model/kernels/cuda/rows.h"
#include "model/kernels/element_math.h"

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

// N elements moved by one load or store.
template <class T, int N>
struct alignas(sizeof(T) * N) Pack {
  T v[N];
};
template <class T, int N>
__device__ __forceinline__ Pack<T, N> LoadPack(const T* from) {
  return *reinterpret_cast<const Pack<T, N>*>(from);
}
template <class T, int N>
__device__ __forceinline__ void StorePack(T* to, const Pack<T, N>& pack) {
  *reinterpret_cast<Pack<T, N>*>(to) = pack;
}
template <class T>
constexpr int kPack = 16 / sizeof(T);

// Sum over the block, the same in every thread; `shared` holds 32 values. All threads of the block
// call it.
template <class S>
__device__ S BlockSum(S value, S* shared) {
  for (int offset = 16; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(0xffffffffu, value, offset);
  }
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  __syncthreads();  // a previous reduction may still be read
  if (lane == 0) shared[warp] = value;
  __syncthreads();
  const int warps = (blockDim.x + 31) / 32;
  S total = 0;
  for (int w = 0; w < warps; ++w) total += shared[w];
  return total;
}

// Threads of a block that walks one row of `packs` packs: whole warps, at most 512.
inline int RowThreads(int64_t packs) {
  const int64_t threads = (packs + 31) / 32 * 32;
  return static_cast<int>(threads < 32 ? 32 : threads > 512 ? 512 : threads);
}
// Blocks of 256 threads that cover `items`.
inline unsigned FlatBlocks(int64_t items) { return static_cast<unsigned>((items + 255) / 256); }

inline void CheckLaunch(const char* kernel) {
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess) {
    throw std::runtime_error(std::string("CUDA kernel ") + kernel + ": " +
                             cudaGetErrorString(error));
  }
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

// Launches `kernel` by body(T{}, std::integral_constant<int, N>()) for the element type and the
// elements that move at once: 16 bytes where rows of `columns` elements at all of these addresses
// (null: none) allow it, else one.
template <class Body>
void LaunchPacked(const char* kernel, Dtype type, int64_t columns,
                  std::initializer_list<const void*> addresses, const Body& body) {
  WithDtype(type, [&](auto tag) {
    bool fits = columns % kPack<decltype(tag)> == 0;
    for (const void* at : addresses) fits = fits && reinterpret_cast<uintptr_t>(at) % 16 == 0;
    if (fits) {
      body(tag, std::integral_constant<int, kPack<decltype(tag)>>());
    } else {
      body(tag, std::integral_constant<int, 1>());
    }
  });
  CheckLaunch(kernel);
}

}  // namespace fttrain::cuda
