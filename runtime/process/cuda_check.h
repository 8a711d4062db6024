// Errors of CUDA and NCCL calls as exceptions. For .cc files compiled with CUDA.
#pragma once

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <string>

#include "runtime/process/check.h"
#include "runtime/process/peer_lost.h"

// Throws CommError with `context` (a std::string that names rank, axis, operation and bytes;
// evaluated on failure alone) and the library's text unless the call succeeds.
#define FT_CUDA_CHECK(call, context)                                   \
  do {                                                                 \
    const cudaError_t ft_code_ = (call);                               \
    if (ft_code_ != cudaSuccess) {                                     \
      throw ::fttrain::CommError(std::string(context) + #call + ": " + \
                                 cudaGetErrorString(ft_code_));        \
    }                                                                  \
  } while (false)

// As FT_CUDA_CHECK; PeerLostError where NCCL says that the fault is another's.
#define FT_NCCL_CHECK(call, context)                                             \
  do {                                                                           \
    const ncclResult_t ft_code_ = (call);                                        \
    if (ft_code_ != ncclSuccess) {                                               \
      const std::string ft_text_ = std::string(context) + #call + ": " +         \
                                   ncclGetErrorString(ft_code_) + "; " +         \
                                   ncclGetLastError(nullptr);                    \
      if (ft_code_ == ncclRemoteError) throw ::fttrain::PeerLostError(ft_text_); \
      throw ::fttrain::CommError(ft_text_);                                      \
    }                                                                            \
  } while (false)
