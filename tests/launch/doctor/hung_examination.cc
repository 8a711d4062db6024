// hung_examination hang|throw: the doctor over a communicator that hangs, or throws, between the
// last two ranks; for hung_examination_test.sh.
#include <cstdio>
#include <string>

#include "launch/doctor/examination.h"
#include "launch/exit_code.h"
#include "runtime/memory/ledger.h"
#include "tests/launch/doctor/sick_communicator.h"

int main(int argc, char** argv) {
  using namespace fttrain;
  InstallMemoryLedger();
  auto process = Process::Create(&argc, &argv);
  if (!process.ok() || argc != 2) return kExitInternal;
  ExaminationOptions options;
  options.device = DeviceKind::kCpu;
  options.timeout_seconds = 3;
  options.connect_seconds = 30;
  options.trial.seconds = 0.01;
  const bool hangs = std::string(argv[1]) == "hang";
  options.backend = hangs ? SickBackend(Sickness::kHangs) : SickBackend(Sickness::kThrows);
  const absl::Status status = Examine(options, **process);
  std::printf("not reached: %s\n", status.ToString().c_str());
  return 0;
}
