#include "runtime/process/device.h"

#include <ATen/Context.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "runtime/memory/rehearsal.h"
#include "runtime/process/check.h"

#if defined(FTTRAIN_WITH_CUDA)
#include <ATen/Parallel.h>
#include <c10/core/AllocatorConfig.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAFunctions.h>

#include "runtime/memory/cuda_ledger.h"
#include "runtime/process/cuda_check.h"
#include "runtime/process/near_device.h"
#include "runtime/process/nvml.h"
#endif

namespace fttrain {

namespace {

// Tensor cores for bfloat16, and what the kernels are compiled for.
constexpr int kOldestMajor = 8;

#if defined(FTTRAIN_WITH_CUDA)
constexpr bool kBuiltWithCuda = true;

// Host memory that this rank takes from now on is that of the GPU's own socket, and copies to and
// from it do not cross to another.
void StayNear(int index) {
  char address[32] = {};
  FT_CUDA_CHECK(cudaDeviceGetPCIBusId(address, sizeof(address), index), "address of a GPU: ");
  if (BindNearDevice(address) < 0) return;
  at::set_num_threads(std::min(at::get_num_threads(), UsableCores()));
}

class CudaRuntime final : public GpuRuntime {
 public:
  int Count() const override { return c10::cuda::device_count(); }

  std::string WhyNone() const override {
    const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
    if (visible != nullptr && HidesAllGpus(visible)) return "";
    const std::optional<NvmlCalls> nvml = LoadNvml();
    if (!nvml) return "";
    const std::vector<CardState> cards = ReadCards(*nvml);
    if (cards.empty()) return "";
    return absl::StrCat("this host has ", cards.size(), cards.size() == 1 ? " GPU" : " GPUs", " (",
                        cards.front().name, "), which CUDA ", CUDART_VERSION / 1000, ".",
                        CUDART_VERSION % 1000 / 10, " cannot use: its driver, ",
                        DriverVersion(*nvml), ", may be too old for it");
  }

  Gpu Describe(int index) const override {
    cudaDeviceProp properties;
    FT_CUDA_CHECK(cudaGetDeviceProperties(&properties, index), "describing a GPU: ");
    return {properties.name, properties.major, properties.minor,
            absl::BytesToHexString({properties.uuid.bytes, sizeof(properties.uuid.bytes)})};
  }

  void Open(int index) const override {
    // Microbatches differ in length: segments that grow hold them without fragments that end in a
    // cudaFree amid a step.
    if (std::getenv("PYTORCH_CUDA_ALLOC_CONF") == nullptr &&
        std::getenv("PYTORCH_ALLOC_CONF") == nullptr) {
      c10::CachingAllocator::setAllocatorSettings("expandable_segments:True");
    }
    at::Context& context = at::globalContext();
    context.lazyInitDevice(c10::DeviceType::CUDA);
    // Sums of a product that cuBLAS splits are added in float32, not in the operands' dtype.
    context.setAllowBF16ReductionCuBLAS(false);
    context.setAllowFP16ReductionCuBLAS(false);
    c10::cuda::set_device(static_cast<c10::DeviceIndex>(index));
    StayNear(index);
    CountCudaMemory();
  }

  int64_t FreeBytes() const override {
    c10::cuda::CUDACachingAllocator::emptyCache();
    size_t free = 0, total = 0;
    FT_CUDA_CHECK(cudaMemGetInfo(&free, &total), "free memory: ");
    return static_cast<int64_t>(free);
  }
};
#else
constexpr bool kBuiltWithCuda = false;

class CudaRuntime final : public GpuRuntime {
 public:
  int Count() const override { return 0; }
  std::string WhyNone() const override { return ""; }
  Gpu Describe(int) const override { return {}; }
  void Open(int index) const override {
    FT_CHECK(false, "GPU ", index, " chosen in a build without CUDA");
  }
  int64_t FreeBytes() const override { return 0; }
};
#endif

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

const GpuRuntime& Gpus() {
  static const CudaRuntime gpus;
  return gpus;
}

int64_t FreeMemoryBytes(c10::Device device, const GpuRuntime& gpus) {
  if (device.is_cuda()) return gpus.FreeBytes();
  return std::min(AvailableHostBytes(), ControlGroupBytes());
}

void SynchronizeDevice([[maybe_unused]] c10::Device device) {
#if defined(FTTRAIN_WITH_CUDA)
  if (device.is_cuda() && !IsRehearsal()) c10::cuda::device_synchronize();
#endif
}

void UseDeterministicAlgorithms(bool on) {
  at::Context& context = at::globalContext();
  context.setDeterministicAlgorithms(on, /*warn_only=*/false);
  // Memory that is not initialised is written before it is read; ATen would fill it first.
  context.setDeterministicFillUninitializedMemory(false);
  if (on) setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8", 0);
}

absl::StatusOr<c10::Device> SelectDevice(DeviceKind kind, const Process& process,
                                         const GpuRuntime& gpus) {
  const c10::Device cpu(c10::DeviceType::CPU);
  if (kind == DeviceKind::kCpu) return cpu;
  const int count = gpus.Count();
  if (count == 0) {
    const std::string why = gpus.WhyNone();
    if (!why.empty()) {
      return absl::FailedPreconditionError(absl::StrCat(why, ". Update it, or set device: cpu"));
    }
    if (kind == DeviceKind::kAuto) return cpu;
    return absl::FailedPreconditionError(
        kBuiltWithCuda
            ? "device cuda: no usable GPU on this host (nvidia-smi shows what the driver "
              "sees); device cpu works"
            : "device cuda: this build is for the CPU alone; build where nvcc is on PATH");
  }
  const int index = process.local_rank() % count;
  const Gpu gpu = gpus.Describe(index);
  if (gpu.major < kOldestMajor) {
    return absl::FailedPreconditionError(absl::StrCat(
        "GPU ", index, ", ", gpu.name, ", has compute capability ", gpu.major, ".", gpu.minor,
        "; fttrain needs ", kOldestMajor,
        ".0 (A100, RTX 30 and newer). Hide it with CUDA_VISIBLE_DEVICES, or set device: cpu"));
  }
  gpus.Open(index);
  return c10::Device(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(index));
}

std::string DeviceModel(c10::Device device, const GpuRuntime& gpus) {
  if (!device.is_cuda()) return "";
  const Gpu gpu = gpus.Describe(device.index());
  return absl::StrCat(gpu.name, " (", gpu.major, ".", gpu.minor, ")");
}

bool SomeRanksShareAGpu(c10::Device device, const Process& process, const GpuRuntime& gpus) {
  std::vector<std::string> uuids =
      process.GatherStrings(device.is_cuda() ? gpus.Describe(device.index()).uuid : std::string());
  std::erase(uuids, "");
  std::sort(uuids.begin(), uuids.end());
  return std::adjacent_find(uuids.begin(), uuids.end()) != uuids.end();
}

}  // namespace fttrain
