// What one rank has.
#pragma once

#include <c10/core/Device.h>

#include "launch/doctor/facts.h"
#include "runtime/process/device.h"
#include "runtime/process/process.h"

namespace fttrain {

// Opens the device that a run would; where it cannot be used, device_error says why and the CPU is
// looked at. Not collective.
struct RankLook {
  RankFacts facts;
  c10::Device device = c10::Device(c10::kCPU);
};
RankLook LookAtRank(DeviceKind kind, const Process& process, const GpuRuntime& gpus = Gpus());

}  // namespace fttrain
