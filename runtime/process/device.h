// The one device of this process.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "runtime/process/process.h"

namespace fttrain {

enum class DeviceKind { kAuto, kCuda, kCpu };

// A GPU that this process sees.
struct Gpu {
  std::string name;
  int major = 0, minor = 0;  // compute capability
  std::string uuid;          // of the card, whichever process sees it under whichever index
};

// The calls of the CUDA runtime that choose and measure a device; tests have a fake.
class GpuRuntime {
 public:
  virtual ~GpuRuntime() = default;
  virtual int Count() const = 0;  // of visible GPUs; 0 in a CPU-only build
  // What keeps CUDA from the cards that the driver tells of, where Count is 0; empty where there
  // are none, or they were hidden (CUDA_VISIBLE_DEVICES).
  virtual std::string WhyNone() const = 0;
  virtual Gpu Describe(int index) const = 0;
  // Makes it the process's current device, with the memory ledger counting it.
  virtual void Open(int index) const = 0;
  // Of the current device, after giving back what the caching allocator keeps unused.
  virtual int64_t FreeBytes() const = 0;
};
const GpuRuntime& Gpus();

// kAuto: a GPU if one is visible, else the CPU; an error where cards are there that CUDA cannot use
// (FailedPrecondition: nobody means the CPU then). kCuda without one (or in a CPU-only build) is an
// error that says so. Of several, the one with index local_rank, counted round: ranks of a host may
// share a GPU. FailedPrecondition, with its name, for a GPU that is too old for the kernels. Not
// collective: a host may lack what another has, so agree on the status.
absl::StatusOr<c10::Device> SelectDevice(DeviceKind kind, const Process& process,
                                         const GpuRuntime& gpus = Gpus());

// The GPU's name, and capability; empty of a CPU.
std::string DeviceModel(c10::Device device, const GpuRuntime& gpus = Gpus());

// Whether two ranks have the same GPU. Collective over the world.
bool SomeRanksShareAGpu(c10::Device device, const Process& process,
                        const GpuRuntime& gpus = Gpus());

// Bytes that this process could still allocate: of the GPU's memory; on a CPU what the system calls
// available, within the control group's limit. Other processes may want the same bytes.
int64_t FreeMemoryBytes(c10::Device device, const GpuRuntime& gpus = Gpus());

// ATen's and cuBLAS's algorithms with fixed orders of sums, for all that follows
// (train.deterministic); an operation that has none then throws. Before the device's first product.
void UseDeterministicAlgorithms(bool on);

// Blocks until the device has finished everything issued so far; nothing on CPU.
void SynchronizeDevice(c10::Device device);

}  // namespace fttrain
