#include "launch/wait_policy.h"

#include <alloca.h>
#include <unistd.h>

#include <climits>
#include <cstring>

namespace fttrain {
namespace {

// Looks of a thread before it sleeps, each a pause instruction: about 0.05 ms, which is enough from
// one loop to the next. A fifth of it costs a quarter of the speed where nothing else runs; three
// times as many give what is beside other programs away (bench/results/neighbour.md).
char spin_count[] = "GOMP_SPINCOUNT=1000";

const char* ValueOf(const char* name, char** environment) {
  const size_t length = std::strlen(name);
  for (; *environment != nullptr; ++environment) {
    if (std::strncmp(*environment, name, length) == 0 && (*environment)[length] == '=') {
      return *environment + length + 1;
    }
  }
  return nullptr;
}

}  // namespace

void ChooseWaitPolicy(int, char** argv, char** environment) {
  if (ValueOf("OMP_WAIT_POLICY", environment) || ValueOf("GOMP_SPINCOUNT", environment)) return;
  const char* threads = ValueOf("OMP_NUM_THREADS", environment);
  if (threads != nullptr && std::strcmp(threads, "1") == 0) return;
  // By its path, so that lists of processes call it by its name.
  char program[PATH_MAX] = {};
  if (readlink("/proc/self/exe", program, sizeof(program) - 1) <= 0) return;
  size_t count = 0;
  while (environment[count] != nullptr) ++count;
  auto* const chosen = static_cast<char**>(alloca((count + 2) * sizeof(char*)));
  std::memcpy(chosen, environment, count * sizeof(char*));
  chosen[count] = spin_count;
  chosen[count + 1] = nullptr;
  execve(program, argv, chosen);  // where that fails, threads spin
}

}  // namespace fttrain
