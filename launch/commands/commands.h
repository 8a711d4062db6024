// The subcommands. Each is collective over the world and returns the same status on every rank.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "launch/command_line.h"
#include "runtime/process/process.h"

namespace fttrain {

absl::Status TrainCommand(const CommandLine& line, const Process& process);
// Trains a few steps in the config's layout and in the smallest that fits, and compares them whole.
// Writes nothing. Aborted, with what differs and on which ranks, if it is more than rounding.
absl::Status VerifyCommand(const CommandLine& line, const Process& process);
// Shows what a run would learn. In one process, without weights.
absl::Status DataCommand(const CommandLine& line, const Process& process);
// Tells what each rank of a run would hold. In one process, without weights, data or a GPU.
absl::Status PlanCommand(const CommandLine& line, const Process& process);
// The loss of held-out rows, of the base and of adapters, in the config's layout.
absl::Status EvalCommand(const CommandLine& line, const Process& process);
// Looks at libraries, devices, ways between ranks, hosts and disk as a run would use them, and
// tells what is broken and what to do; `program` is what was built. Aborted, with the exit code of
// what is broken, if anything is.
absl::Status DoctorCommand(const CommandLine& line, const std::string& program,
                           const Process& process);
// The dry run of a config. Writes nothing that stays.
absl::Status CheckCommand(const CommandLine& line, const Process& process);
// Prints a config to begin with. In one process, without weights.
absl::Status InitCommand(const CommandLine& line, const Process& process);
// Answers a prompt, or a file of them; and a person, line by line.
absl::Status GenerateCommand(const CommandLine& line, const Process& process);
absl::Status ChatCommand(const CommandLine& line, const Process& process);
absl::Status LogitsCommand(const CommandLine& line, const Process& process);
absl::Status QuantizeCommand(const CommandLine& line, const Process& process);
absl::Status MergeCommand(const CommandLine& line, const Process& process);

}  // namespace fttrain
