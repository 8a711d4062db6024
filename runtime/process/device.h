// The one device of this process.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "runtime/process/process.h"

namespace fttrain {

enum class DeviceKind { kAuto, kCuda, kCpu };

// kAuto: the GPU with index local_rank if a GPU is usable, else the CPU. kCuda without a usable GPU
// (or in a CPU-only build) is an error that says so. When more ranks than GPUs share a host, GPU =
// local_rank % count only if `share_gpu`, else FailedPrecondition. Sets the current CUDA device and
// makes the memory ledger count it. Not collective: a host may lack what another has, so agree on
// the status.
absl::StatusOr<c10::Device> SelectDevice(DeviceKind kind, const Process& process, bool share_gpu);

// The choice alone, for tests: index of the GPU, or -1 for the CPU, where `gpu_count` GPUs are
// usable.
absl::StatusOr<int> ChooseGpu(DeviceKind kind, int gpu_count, int local_rank, int local_size,
                              bool share_gpu);

// Number of usable GPUs; 0 in a CPU-only build.
int GpuCount();

// Bytes that this process could still allocate: of the GPU's memory, after giving back what the
// caching allocator keeps unused; on a CPU what the system calls available, within the control
// group's limit. Other processes may want the same bytes.
int64_t FreeMemoryBytes(c10::Device device);

// Blocks until the device has finished everything issued so far; nothing on CPU.
void SynchronizeDevice(c10::Device device);

}  // namespace fttrain
