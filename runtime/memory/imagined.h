// The two halves of a rehearsal (rehearsal.h), which alone calls this: a GPU that is not there, and
// ATen's operations without their arithmetic.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace fttrain {

// From here on streams and events of CUDA devices are imagined, and the ledger counts what
// EmptyImagined gives as the device's.
void BeginImaginedGpu();
void EndImaginedGpu();

// An uninitialised tensor on the imagined GPU, booked under the current category. Its addresses
// are its own and must not be read.
at::Tensor EmptyImagined(at::IntArrayRef sizes, at::IntArrayRef strides, at::ScalarType dtype);
// A tensor of zeros in host memory that no ledger counts, as pinned memory of the caching allocator
// is not.
at::Tensor EmptyPinned(at::IntArrayRef sizes, at::IntArrayRef strides, at::ScalarType dtype);

// Of the calling thread.
void BeginImaginedOperations(int64_t largest_computed);
void EndImaginedOperations();

}  // namespace fttrain
