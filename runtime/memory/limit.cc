#include "runtime/memory/limit.h"

#include <c10/util/Exception.h>

#include "runtime/memory/book.h"

#if defined(FTTRAIN_WITH_CUDA)
#include <c10/cuda/CUDACachingAllocator.h>
#include <cuda_runtime.h>

#include <algorithm>
#endif

namespace fttrain {

void LimitMemory(c10::Device device, int64_t bytes) {
  if (device.is_cpu()) {
    LimitHostBook(bytes);
    return;
  }
#if defined(FTTRAIN_WITH_CUDA)
  size_t free = 0, total = 0;
  const cudaError_t code = cudaMemGetInfo(&free, &total);
  TORCH_CHECK(code == cudaSuccess, "memory of a GPU: ", cudaGetErrorString(code));
  const double fraction = std::min(1.0, static_cast<double>(bytes) / static_cast<double>(total));
  c10::cuda::CUDACachingAllocator::setMemoryFraction(fraction, device.index());
#else
  TORCH_CHECK(false, "this build has no CUDA");
#endif
}

}  // namespace fttrain
