// The one device of this process.
#pragma once

#include <c10/core/Device.h>

#include <string>

#include "absl/status/statusor.h"
#include "runtime/process.h"

namespace fttrain {

enum class DeviceKind { kAuto, kCuda, kCpu };

// kAuto: the GPU with index local_rank if a GPU is usable, else the CPU. kCuda without a usable GPU (or in
// a CPU-only build) is an error that says so. When more ranks than GPUs share a host, GPU = local_rank %
// count only if `share_gpu`, else FailedPrecondition. Sets the current CUDA device.
absl::StatusOr<c10::Device> SelectDevice(DeviceKind kind, const Process& process, bool share_gpu);

// Number of usable GPUs; 0 in a CPU-only build.
int GpuCount();

// Blocks until the device has finished everything issued so far; nothing on CPU.
void SynchronizeDevice(c10::Device device);

}  // namespace fttrain
