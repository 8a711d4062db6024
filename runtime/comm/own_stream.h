// A CUDA stream for one communicator. For nccl_communicator.cc.
#pragma once

#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>

#include "runtime/process/cuda_check.h"

namespace fttrain {

// Nobody else's, unlike those of a pool, which are dealt out in turns: two communicators on one
// would hold each other up.
class OwnStream {
 public:
  OwnStream() {
    int lowest = 0, highest = 0;
    FT_CUDA_CHECK(cudaDeviceGetStreamPriorityRange(&lowest, &highest), "NCCL's stream: ");
    FT_CUDA_CHECK(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, highest),
                  "NCCL's stream: ");
  }
  ~OwnStream() { cudaStreamDestroy(stream_); }
  OwnStream(const OwnStream&) = delete;
  OwnStream& operator=(const OwnStream&) = delete;
  c10::cuda::CUDAStream Get() const {
    return c10::cuda::getStreamFromExternal(stream_, c10::cuda::current_device());
  }

 private:
  cudaStream_t stream_ = nullptr;
};

}  // namespace fttrain
