// The calls of CUDA's runtime that our .cu files make, for include/cuda_runtime.h.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "tests/cuda_on_host/grid.h"

enum cudaError_t {
  cudaSuccess = 0,
  cudaErrorInvalidConfiguration = 9,
  cudaErrorLaunchFailure = 719
};
enum cudaDeviceAttr { cudaDevAttrMultiProcessorCount = 16 };
using cudaStream_t = struct CUstream_st*;
struct cudaLaunchConfig_t {
  dim3 gridDim, blockDim;
  size_t dynamicSmemBytes;
  cudaStream_t stream;
};

namespace fttrain::cuda_on_host {
inline cudaError_t last_error = cudaSuccess;
inline std::string last_failure;  // the text of cudaErrorLaunchFailure
inline int queries = 0;           // calls that ask the runtime something
}  // namespace fttrain::cuda_on_host

inline cudaError_t cudaGetLastError() {
  return std::exchange(fttrain::cuda_on_host::last_error, cudaSuccess);
}
inline const char* cudaGetErrorString(cudaError_t error) {
  return error == cudaErrorLaunchFailure ? fttrain::cuda_on_host::last_failure.c_str()
                                         : "invalid configuration argument";
}
// A small device, so that grids which fill it have threads that take several items.
inline cudaError_t cudaGetDevice(int* device) {
  ++fttrain::cuda_on_host::queries;
  return *device = 0, cudaSuccess;
}
inline cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr, int) {
  ++fttrain::cuda_on_host::queries;
  return *value = 1, cudaSuccess;
}
template <class Kernel>
cudaError_t cudaOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, Kernel, int, size_t) {
  ++fttrain::cuda_on_host::queries;
  return *blocks = 2, cudaSuccess;
}

// Complete when it returns. A fault of the kernel is its error.
template <class... Parameters, class... Arguments>
cudaError_t cudaLaunchKernelEx(const cudaLaunchConfig_t* config, void (*kernel)(Parameters...),
                               Arguments&&... arguments) {
  const dim3 grid = config->gridDim, block = config->blockDim;
  const uint64_t threads = uint64_t{block.x} * block.y * block.z;
  const bool valid = threads > 0 && threads <= 1024 && grid.x > 0 && grid.y > 0 && grid.z > 0 &&
                     grid.x <= 0x7fffffffU && grid.y <= 65535 && grid.z <= 65535;
  auto& error = fttrain::cuda_on_host::last_error;
  if (!valid) return error = cudaErrorInvalidConfiguration;
  const std::string failure = [&](Parameters... values) {
    return fttrain::cuda_on_host::RunGrid(grid, block, [&] { kernel(values...); });
  }(std::forward<Arguments>(arguments)...);
  if (failure.empty()) return cudaSuccess;
  fttrain::cuda_on_host::last_failure = failure;
  return error = cudaErrorLaunchFailure;
}
