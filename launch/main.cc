#include <ATen/Parallel.h>
#include <torch/headeronly/version.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "launch/as_started.h"
#include "launch/command_line.h"
#include "launch/command_table.h"
#include "launch/commands/commands.h"
#include "launch/exit_code.h"
#include "launch/wait_policy.h"
#include "runtime/memory/ledger.h"
#include "runtime/process/check.h"
#include "runtime/process/launcher.h"
#include "runtime/process/log.h"
#include "runtime/process/peer_lost.h"
#include "runtime/process/process.h"

namespace fttrain {
namespace {

constexpr const char* kProgram =
    "fttrain " FTTRAIN_VERSION " (torch " TORCH_VERSION ", " FTTRAIN_CUDA_TEXT ")";

// Cores of this rank: the ones it is bound to, or its share of the host's; OMP_NUM_THREADS decides
// if set.
void SetThreads(const Process& process) {
  if (std::getenv("OMP_NUM_THREADS") != nullptr) return;
  const int host = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  int cores = UsableCores();
  if (cores >= host) cores = host / process.local_size();
  at::set_num_threads(std::max(1, cores));
}

absl::Status Run(int argc, char** argv, const Process& process) {
  absl::StatusOr<CommandLine> line = ParseCommandLine(argc, argv);
  if (!line.ok()) return process.AgreeOnStatus(line.status());
  if (line->command == "help") {
    LogInfo(AsStarted(Usage(line->topic)));
    return absl::OkStatus();
  }
  if (line->command == "version") {
    LogInfo(kProgram);
    return absl::OkStatus();
  }
  // Before anything is read or written.
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(
      CheckLauncher([](const char* name) { return std::getenv(name); }, process.world_size())));
  if (line->command == "verify") return VerifyCommand(*line, process);
  if (line->command == "check") return CheckCommand(*line, process);
  if (line->command == "init") return process.AgreeOnStatus(InitCommand(*line, process));
  if (line->command == "data") return process.AgreeOnStatus(DataCommand(*line, process));
  if (line->command == "plan") return process.AgreeOnStatus(PlanCommand(*line, process));
  if (line->command == "eval") return EvalCommand(*line, process);
  if (line->command == "doctor") return DoctorCommand(*line, kProgram, process);
  if (line->command == "generate") return GenerateCommand(*line, process);
  if (line->command == "chat") return ChatCommand(*line, process);
  if (line->command == "logits") return LogitsCommand(*line, process);
  if (line->command == "quantize") return process.AgreeOnStatus(QuantizeCommand(*line, process));
  if (line->command == "merge") return process.AgreeOnStatus(MergeCommand(*line, process));
  return TrainCommand(*line, process);
}

// Every rank has the same status; the first one says it. One line per fault.
int Report(const absl::Status& status, const Process& process) {
  const int code = ExitCode(status);
  if (code == kExitPreempted) {
    LogInfo(absl::StrCat("stopped    ", std::string(status.message())));
  } else if (!status.ok() && process.rank() == 0) {
    for (absl::string_view fault : absl::StrSplit(status.message(), '\n', absl::SkipEmpty())) {
      LogAgreedError(code, AsStarted(fault));
    }
  }
  // mpirun kills the ranks that are still busy once one has left with an error.
  process.Barrier();
  return code;
}

}  // namespace
}  // namespace fttrain

// The C library calls what stands here first of all.
__attribute__((section(".preinit_array"), used)) static auto* choose_wait_policy =
    &fttrain::ChooseWaitPolicy;

int main(int argc, char** argv) {
  using namespace fttrain;
  InstallMemoryLedger();
  // A full quota or a closed pipe is an error of the write that meets it, not the end of the
  // process.
  std::signal(SIGXFSZ, SIG_IGN);
  std::signal(SIGPIPE, SIG_IGN);
  absl::StatusOr<std::unique_ptr<Process>> process = Process::Create(&argc, &argv);
  if (!process.ok()) {
    LogError(process.status().ToString());
    return kExitInternal;
  }
  static_assert(PeerLostError::kExitCode == kExitPeerLost);
  (*process)->AbortJobOnUncaught(kExitInternal);
  SetThreads(**process);
  const int code = Report(Run(argc, argv, **process), **process);
  process->reset();
  // The libraries take tables of theirs apart on exit, for longer than a small plan takes.
  std::fflush(nullptr);
  std::_Exit(code);
}
