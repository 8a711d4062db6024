#include "runtime/process/device.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

#include "absl/strings/str_cat.h"
#include "runtime/process/check.h"

#if defined(FTTRAIN_WITH_CUDA)
#include <ATen/Context.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>

#include "runtime/memory/cuda_ledger.h"
#include "runtime/process/cuda_check.h"
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

namespace {
int64_t FreeGpuBytes() {
  c10::cuda::CUDACachingAllocator::emptyCache();
  size_t free = 0, total = 0;
  FT_CUDA_CHECK(cudaMemGetInfo(&free, &total), "free memory: ");
  return static_cast<int64_t>(free);
}
}  // namespace

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

namespace {
int64_t FreeGpuBytes() { return 0; }
}  // namespace

void SynchronizeDevice(c10::Device) {}
#endif

namespace {

constexpr int64_t kUnknown = std::numeric_limits<int64_t>::max();

// The number in a file of one; kUnknown if there is none ("max").
int64_t NumberIn(const char* path) {
  std::ifstream file(path);
  int64_t number = 0;
  return file >> number ? number : kUnknown;
}

int64_t AvailableHostBytes() {
  std::ifstream file("/proc/meminfo");
  std::string word;
  while (file >> word) {
    int64_t kibibytes = 0;
    if (word == "MemAvailable:" && file >> kibibytes) return kibibytes * 1024;
  }
  return kUnknown;
}

// Files that are cached count as used there, but are given up when memory is short.
int64_t ControlGroupBytes() {
  const int64_t limit = NumberIn("/sys/fs/cgroup/memory.max");
  const int64_t used = NumberIn("/sys/fs/cgroup/memory.current");
  if (limit == kUnknown || used == kUnknown) return kUnknown;
  int64_t cached = 0;
  std::ifstream file("/sys/fs/cgroup/memory.stat");
  for (std::string word; file >> word;) {
    int64_t bytes = 0;
    if (word == "file" && file >> bytes) cached = bytes;
  }
  return std::max<int64_t>(0, limit - used + cached);
}

}  // namespace

int64_t FreeMemoryBytes(c10::Device device) {
  if (device.is_cuda()) return FreeGpuBytes();
  return std::min(AvailableHostBytes(), ControlGroupBytes());
}

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
