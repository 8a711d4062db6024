#include "absl/strings/str_cat.h"
#include "launch/commands/commands.h"
#include "launch/doctor/examination.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

absl::StatusOr<DeviceKind> DeviceOf(const std::string& word) {
  if (word == "auto") return DeviceKind::kAuto;
  if (word == "cuda") return DeviceKind::kCuda;
  if (word == "cpu") return DeviceKind::kCpu;
  return absl::InvalidArgumentError(
      absl::StrCat("--device=", Printable(word), ": must be auto, cuda or cpu"));
}

absl::StatusOr<ExaminationOptions> OptionsOf(const CommandLine& line, const std::string& program) {
  ExaminationOptions options;
  options.program = program;
  options.folder = line.Get("output");
  options.json = line.Has("json");
  FT_ASSIGN_OR_RETURN(options.device, DeviceOf(line.Get("device")));
  FT_ASSIGN_OR_RETURN(options.timeout_seconds,
                      line.Number<double>(
                          "timeout", [](double seconds) { return seconds >= 1 && seconds < 1e5; },
                          "seconds, at least 1"));
  return options;
}

}  // namespace

absl::Status DoctorCommand(const CommandLine& line, const std::string& program,
                           const Process& process) {
  const absl::StatusOr<ExaminationOptions> options = OptionsOf(line, program);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(options.status()));
  return Examine(*options, process);
}

}  // namespace fttrain
