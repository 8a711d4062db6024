#include "launch/wait_policy.h"

#include <unistd.h>

#include <cstdlib>

#include "absl/strings/string_view.h"
#include "runtime/process/program_path.h"

namespace fttrain {
namespace {

// Looks of a thread before it sleeps, each a pause instruction: about 0.05 ms, which is enough from
// one loop to the next. A fifth of it costs a quarter of the speed where nothing else runs; three
// times as many give what is beside other programs away (bench/results/neighbour.md).
constexpr char kSpinCount[] = "1000";

bool IsSet(const char* name) { return std::getenv(name) != nullptr; }

}  // namespace

void ChooseWaitPolicy(char** argv) {
  if (IsSet("OMP_WAIT_POLICY") || IsSet("GOMP_SPINCOUNT")) return;
  const char* threads = std::getenv("OMP_NUM_THREADS");
  if (threads != nullptr && absl::string_view(threads) == "1") return;
  setenv("GOMP_SPINCOUNT", kSpinCount, 0);
  // By its path, so that lists of processes call it by its name. Where that fails, threads spin.
  execv(ProgramPath().c_str(), argv);
}

}  // namespace fttrain
