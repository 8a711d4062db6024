// The whole visit: measures in steps that all ranks take together, judges, tells.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "launch/doctor/links.h"
#include "runtime/comm/backends.h"
#include "runtime/process/device.h"
#include "runtime/process/process.h"

namespace fttrain {

struct ExaminationOptions {
  std::string program;       // what was built
  std::string folder = ".";  // where a run would write
  DeviceKind device = DeviceKind::kAuto;
  double timeout_seconds = 10;  // for which nothing may stand still
  double connect_seconds = 60;  // the same while ranks connect: NCCL takes its time
  bool json = false;
  LinkTrial trial = {};
  CommBackend backend = nullptr;  // null: the one that a run would take
};

// Rank 0 prints the findings. OK without errors, else all of them in one line with their exit code,
// the same on every rank. Collective over the world. Where ranks stand still the process ends by
// itself instead (kExitHang), after rank 0 has printed what was found until then and at what they
// were; a rank that fails inside a step says why on stderr.
absl::Status Examine(const ExaminationOptions& options, const Process& process);

}  // namespace fttrain
