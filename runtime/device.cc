#include "runtime/device.h"

#include "absl/strings/str_cat.h"
#include "runtime/check.h"

#if defined(FTTRAIN_WITH_CUDA)
#include <ATen/Context.h>
#include <c10/cuda/CUDAFunctions.h>

#include "runtime/cuda_ledger.h"
#endif

namespace fttrain {

#if defined(FTTRAIN_WITH_CUDA)
namespace {
constexpr bool kBuiltWithCuda = true;

c10::Device OpenGpu(int index) {
  at::globalContext().lazyInitDevice(c10::DeviceType::CUDA);
  c10::cuda::set_device(static_cast<c10::DeviceIndex>(index));
  CountCudaMemory();
  return c10::Device(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(index));
}
}  // namespace

int GpuCount() { return c10::cuda::device_count(); }

void SynchronizeDevice(c10::Device device) {
  if (device.is_cuda()) c10::cuda::device_synchronize();
}
#else
namespace {
constexpr bool kBuiltWithCuda = false;

c10::Device OpenGpu(int index) {
  FT_CHECK(false, "GPU ", index, " chosen in a build without CUDA");
  return c10::Device(c10::DeviceType::CPU);
}
}  // namespace

int GpuCount() { return 0; }

void SynchronizeDevice(c10::Device) {}
#endif

absl::StatusOr<int> ChooseGpu(DeviceKind kind, int gpu_count, int local_rank, int local_size,
                              bool share_gpu) {
  if (kind == DeviceKind::kCpu) return -1;
  if (gpu_count == 0) {
    if (kind == DeviceKind::kAuto) return -1;
    return absl::FailedPreconditionError(
        kBuiltWithCuda
            ? "device cuda: no usable GPU on this host (nvidia-smi shows what the driver "
              "sees); device cpu works"
            : "device cuda: this build is for the CPU alone; build where nvcc is on PATH");
  }
  if (local_size > gpu_count && !share_gpu) {
    return absl::FailedPreconditionError(absl::StrCat(
        local_size, " ranks on this host, but ", gpu_count, " usable GPU(s): start at most ",
        gpu_count, " ranks per host, or let ranks share a GPU"));
  }
  return local_rank % gpu_count;
}

absl::StatusOr<c10::Device> SelectDevice(DeviceKind kind, const Process& process, bool share_gpu) {
  FT_ASSIGN_OR_RETURN(const int gpu, ChooseGpu(kind, GpuCount(), process.local_rank(),
                                               process.local_size(), share_gpu));
  return gpu < 0 ? c10::Device(c10::DeviceType::CPU) : OpenGpu(gpu);
}

}  // namespace fttrain
