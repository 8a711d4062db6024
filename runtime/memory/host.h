// Host memory beside the device's: where a GPU run puts what its device need not hold.
#pragma once

#include <ATen/core/Tensor.h>

namespace fttrain {

// An uninitialised contiguous tensor in host memory: pinned if `device` is CUDA, so that copies to
// and from it are asynchronous, else pageable. Booked under the current category at
// MemoryPlace::kHost on every kind of run: on a CPU run too it does not count as device memory.
// Pinning takes about 0.2 ms a MiB: allocate once and reuse. Freeing waits for no stream: copies
// must have finished. Throws c10::Error, naming the bytes, when there is not enough memory.
at::Tensor EmptyOnHost(at::IntArrayRef shape, at::ScalarType dtype, c10::Device device);

}  // namespace fttrain
