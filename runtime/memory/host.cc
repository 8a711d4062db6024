#include "runtime/memory/host.h"

#include <ATen/ops/from_blob.h>

#include <cstdlib>

#include "runtime/math/ceil_divide.h"
#include "runtime/memory/book.h"
#include "runtime/memory/rehearsal.h"

#if defined(FTTRAIN_WITH_CUDA)
#include <cuda_runtime.h>
#endif

namespace fttrain {
namespace {

void* Allocate(int64_t bytes, bool pinned) {
  void* data = nullptr;
  if (IsRehearsal()) {
    data = ImaginedZeros(bytes);
    TORCH_CHECK(data != nullptr, "cannot imagine ", bytes, " bytes of host memory");
    return data;
  }
#if defined(FTTRAIN_WITH_CUDA)
  if (pinned) {
    const cudaError_t code = cudaHostAlloc(&data, static_cast<size_t>(bytes), cudaHostAllocDefault);
    if (code == cudaSuccess) return data;
    cudaGetLastError();  // or the next kernel launch would report it
    TORCH_CHECK(false, "cannot pin ", bytes, " bytes of host memory beside ",
                TotalMemory(MemoryPlace::kHost).current_bytes,
                " bytes of tensors there: ", cudaGetErrorString(code));
  }
#else
  TORCH_CHECK(!pinned, "pinned host memory in a build without CUDA");
#endif
  TORCH_CHECK(posix_memalign(&data, kAlignmentBytes, static_cast<size_t>(bytes)) == 0,
              "out of host memory: cannot allocate ", bytes, " bytes beside ",
              TotalMemory(MemoryPlace::kHost).current_bytes, " bytes of tensors there");
  return data;
}

void Free(void* data, int64_t bytes, bool pinned, bool imagined) {
  if (imagined) return FreeImagined(data, bytes);
#if defined(FTTRAIN_WITH_CUDA)
  if (pinned) {
    cudaFreeHost(data);
    return;
  }
#endif
  static_cast<void>(pinned);
  std::free(data);
}

}  // namespace

at::Tensor EmptyOnHost(at::IntArrayRef shape, at::ScalarType dtype, c10::Device device) {
  const auto options = at::TensorOptions(dtype);
  const int64_t bytes =
      c10::multiply_integers(shape) * static_cast<int64_t>(c10::elementSize(dtype));
  if (bytes == 0) return at::from_blob(nullptr, shape, options);
  const bool pinned = device.is_cuda();
  void* const data = Allocate(bytes, pinned);
  MemoryBook& book = HostBook();
  const MemoryCategory category = CurrentMemoryCategory();
  book.Add(category, bytes);
  return at::from_blob(
      data, shape,
      [&book, category, bytes, pinned, imagined = IsRehearsal()](void* freed) {
        Free(freed, bytes, pinned, imagined);
        book.Remove(category, bytes);
      },
      options);
}

}  // namespace fttrain
