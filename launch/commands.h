// The subcommands. Each is collective over the world and returns the same status on every rank.
#pragma once

#include "absl/status/status.h"
#include "launch/command_line.h"
#include "runtime/process.h"

namespace fttrain {

absl::Status TrainCommand(const CommandLine& line, const Process& process);
absl::Status GenerateCommand(const CommandLine& line, const Process& process);
absl::Status LogitsCommand(const CommandLine& line, const Process& process);
absl::Status QuantizeCommand(const CommandLine& line, const Process& process);
absl::Status MergeCommand(const CommandLine& line, const Process& process);

}  // namespace fttrain
