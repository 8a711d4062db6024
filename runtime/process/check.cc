#include "runtime/process/check.h"

#include <cstdio>
#include <cstdlib>

namespace fttrain {

void CheckFailed(const char* file, int line, const char* condition, const std::string& message) {
  std::fflush(stdout);
  std::fprintf(stderr, "fttrain: internal error at %s:%d: %s%s%s\n", file, line, condition,
               message.empty() ? "" : ": ", message.c_str());
  std::fflush(stderr);
  std::abort();
}

}  // namespace fttrain
