// What every .cu file shares: packs of elements, and the launch. CUDA C++17, no LibTorch. The
// kernels' tests compile it for the host, with a cuda_runtime.h of their own.
#pragma once

#include <cuda_runtime.h>

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

}  // namespace fttrain::cuda
