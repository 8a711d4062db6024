// Errors of CUDA and NCCL calls as exceptions. For .cc files compiled with CUDA.
#pragma once

#include <cuda_runtime_api.h>
#include <nccl.h>

#include <string>

#include "runtime/process/check.h"

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

#define FT_NCCL_CHECK(call, context)                                                               \
  do {                                                                                             \
    const ncclResult_t ft_code_ = (call);                                                          \
    if (ft_code_ != ncclSuccess) {                                                                 \
      throw ::fttrain::CommError(std::string(context) + #call + ": " +                             \
                                 ncclGetErrorString(ft_code_) + "; " + ncclGetLastError(nullptr)); \
    }                                                                                              \
  } while (false)
