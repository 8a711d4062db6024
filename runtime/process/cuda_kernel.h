// What every .cu file shares: packs of elements, a block's sum, and the launch. CUDA C++17, no
// LibTorch. The kernels' tests compile it for the host, with a cuda_runtime.h of their own.
#pragma once

#include <cuda_runtime.h>

#include <algorithm>
#include <cstdint>
#include <initializer_list>
#include <stdexcept>
#include <string>

namespace fttrain::cuda {

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

// Elements of a 16-byte pack, and whether such packs may begin at all of these addresses (null:
// none).
template <class T>
constexpr int kPack = 16 / sizeof(T);
inline bool AreAligned(std::initializer_list<const void*> addresses) {
  return std::all_of(addresses.begin(), addresses.end(),
                     [](const void* at) { return reinterpret_cast<uintptr_t>(at) % 16 == 0; });
}

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

// Throws std::runtime_error with the kernel's name.
inline void CheckKernel(const char* name, cudaError_t error) {
  if (error == cudaSuccess) return;
  throw std::runtime_error(std::string("CUDA kernel ") + name + ": " + cudaGetErrorString(error));
}

// Launches the kernel on `stream` (a cudaStream_t), each argument cast to its parameter's type, and
// returns. Throws as CheckKernel if the launch is refused.
template <class... Parameters, class... Arguments>
void Launch(const char* name, void (*kernel)(Parameters...), dim3 grid, unsigned threads,
            void* stream, Arguments... arguments) {
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = threads;
  config.stream = static_cast<cudaStream_t>(stream);
  cudaLaunchKernelEx(&config, kernel, static_cast<Parameters>(arguments)...);
  CheckKernel(name, cudaGetLastError());
}

// Blocks of `threads` threads of the kernel that the device runs at once. A process has one device:
// keep the answer, the runtime need not be asked at every launch.
template <class... Parameters>
int64_t BlocksAtOnce(void (*kernel)(Parameters...), int threads) {
  int device = 0, processors = 1, resident = 1;
  cudaGetDevice(&device);
  cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
  cudaOccupancyMaxActiveBlocksPerMultiprocessor(&resident, kernel, threads, 0);
  return std::max<int64_t>(1, static_cast<int64_t>(processors) * resident);
}

}  // namespace fttrain::cuda
