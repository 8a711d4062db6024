// Calling a CUDA kernel from a source that a build for the CPU alone compiles too.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/util/Exception.h>

#include "runtime/memory/rehearsal.h"

// `if (FT_ON_CUDA(x, Kernel, ARGUMENTS)) return;`: where x is on a GPU, calls cuda::Kernel with the
// arguments and the current stream of x's device, and is true (in a rehearsal without the call). A
// build without CUDA does not compile the call, and refuses such an x.
#if defined(FTTRAIN_WITH_CUDA)

#include <c10/cuda/CUDAStream.h>

#define FT_ON_CUDA(x, kernel, ...)                                                                \
  ((x).is_cuda()                                                                                  \
       ? (::fttrain::IsRehearsal() ||                                                             \
          (cuda::kernel(__VA_ARGS__, c10::cuda::getCurrentCUDAStream((x).get_device()).stream()), \
           true))                                                                                 \
       : false)

#else

#define FT_ON_CUDA(x, kernel, ...) ::fttrain::RefuseCuda(x)

namespace fttrain {

inline bool RefuseCuda(const at::Tensor& x) {
  if (x.is_cuda() && IsRehearsal()) return true;
  TORCH_CHECK(!x.is_cuda(), "this build has no CUDA");
  return false;
}

}  // namespace fttrain

#endif
