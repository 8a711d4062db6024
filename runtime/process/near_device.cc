#include "runtime/process/near_device.h"

#include <sched.h>

#include <fstream>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace fttrain {
namespace {

std::string FirstLine(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

}  // namespace

std::vector<int> ParseCoreList(std::string_view text) {
  std::vector<int> cores;
  const std::string list(text);
  for (absl::string_view range : absl::StrSplit(list, ',', absl::SkipWhitespace())) {
    const std::pair<std::string, std::string> ends = absl::StrSplit(range, absl::MaxSplits('-', 1));
    int first = 0, last = 0;
    if (!absl::SimpleAtoi(ends.first, &first)) return {};
    if (!absl::SimpleAtoi(ends.second.empty() ? ends.first : ends.second, &last)) return {};
    for (int core = first; core <= last; ++core) cores.push_back(core);
  }
  return cores;
}

int BindNearDevice(std::string_view pci_address, const std::string& sys) {
  const std::string address = absl::AsciiStrToLower(std::string(pci_address));
  int node = -1;
  const std::string word = FirstLine(absl::StrCat(sys, "/bus/pci/devices/", address, "/numa_node"));
  if (!absl::SimpleAtoi(word, &node) || node < 0) return -1;
  cpu_set_t usable, near;
  if (sched_getaffinity(0, sizeof(usable), &usable) != 0) return -1;
  CPU_ZERO(&near);
  const std::string list =
      FirstLine(absl::StrCat(sys, "/devices/system/node/node", node, "/cpulist"));
  for (const int core : ParseCoreList(list)) {
    if (core >= 0 && core < CPU_SETSIZE && CPU_ISSET(core, &usable)) CPU_SET(core, &near);
  }
  if (CPU_COUNT(&near) == 0 || CPU_EQUAL(&near, &usable)) return -1;
  return sched_setaffinity(0, sizeof(near), &near) == 0 ? node : -1;
}

}  // namespace fttrain
