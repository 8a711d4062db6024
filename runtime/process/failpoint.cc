#include "runtime/process/failpoint.h"

#include <unistd.h>

#include <csignal>
#include <cstdlib>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

struct Fault {
  std::string name, how = "kill";
  int rank = -1, at = 1;
};

Fault Parse(const std::string& text) {
  const std::vector<std::string> words = absl::StrSplit(text, ':');
  Fault fault;
  fault.name = words[0];
  for (size_t i = 1; i < words.size(); ++i) {
    const std::vector<std::string> pair = absl::StrSplit(words[i], '=');
    int* number = pair[0] == "rank" ? &fault.rank : &fault.at;
    const bool is_number = pair.size() == 2 && (pair[0] == "rank" || pair[0] == "at");
    if (is_number) FT_CHECK(absl::SimpleAtoi(pair[1], number), "FTTRAIN_FAULT=", text);
    if (!is_number) fault.how = words[i];
  }
  const bool known =
      fault.how == "kill" || fault.how == "throw" || fault.how == "hang" || fault.how == "error";
  FT_CHECK(known, "FTTRAIN_FAULT=", text);
  return fault;
}

// How often this place has been passed.
int CountOf(const char* name) {
  static std::mutex mutex;
  static std::map<std::string, int> passed;
  const std::lock_guard lock(mutex);
  return ++passed[name];
}

}  // namespace

absl::Status Failpoint(const char* name) {
  const char* text = std::getenv("FTTRAIN_FAULT");
  if (text == nullptr) return absl::OkStatus();
  const Fault fault = Parse(text);
  const char* rank = std::getenv("OMPI_COMM_WORLD_RANK");
  const bool here = fault.rank < 0 || absl::StrCat(fault.rank) == (rank == nullptr ? "0" : rank);
  if (fault.name != name || !here || CountOf(name) != fault.at) return absl::OkStatus();
  const std::string words = absl::StrCat("failpoint ", name);
  if (fault.how == "error") return absl::UnavailableError(words);
  if (fault.how == "throw") throw std::runtime_error(words);
  if (fault.how == "kill") raise(SIGKILL);
  for (;;) pause();
}

}  // namespace fttrain
