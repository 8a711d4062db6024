#include "runtime/process/gpu_paths.h"

#if defined(FTTRAIN_WITH_CUDA)

#include <c10/cuda/CUDAFunctions.h>
#include <cuda_runtime_api.h>

namespace fttrain {

std::vector<GpuPath> GpuPaths() {
  std::vector<GpuPath> paths;
  const int count = c10::cuda::device_count();
  for (int from = 0; from < count; ++from) {
    for (int to = 0; to < count; ++to) {
      int direct = 0;
      if (from == to || cudaDeviceCanAccessPeer(&direct, from, to) != cudaSuccess) continue;
      paths.push_back({from, to, direct != 0});
    }
  }
  return paths;
}

}  // namespace fttrain

#else

namespace fttrain {

std::vector<GpuPath> GpuPaths() { return {}; }

}  // namespace fttrain

#endif
