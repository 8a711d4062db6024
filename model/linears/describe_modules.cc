// Modules and their names in words.
#include <algorithm>
#include <map>
#include <set>

#include "absl/algorithm/container.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "model/linears/adapter_modules.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

// "0, 2-5".
std::string Ranges(const std::vector<int64_t>& numbers) {
  std::string text;
  for (size_t i = 0; i < numbers.size(); ++i) {
    size_t last = i;
    while (last + 1 < numbers.size() && numbers[last + 1] == numbers[last] + 1) ++last;
    absl::StrAppend(&text, text.empty() ? "" : ", ", numbers[i]);
    if (last > i) absl::StrAppend(&text, last == i + 1 ? ", " : "-", numbers[last]);
    i = last;
  }
  return text;
}

}  // namespace

std::string DescribeModules(const std::vector<std::string>& modules, int64_t num_layers) {
  std::vector<std::string> leaves;  // in their order
  std::map<std::string, std::vector<int64_t>> layers_of;
  for (const std::string& module : modules) {
    const std::string leaf = LeafName(module);
    if (!absl::c_linear_search(leaves, leaf)) leaves.push_back(leaf);
    int64_t layer = 0;
    for (const absl::string_view part : absl::StrSplit(module, '.')) {
      if (!absl::SimpleAtoi(part, &layer)) continue;
      layers_of[leaf].push_back(layer);
      break;
    }
  }
  std::vector<std::string> groups;
  std::set<std::string> done;
  for (const std::string& leaf : leaves) {
    std::vector<std::string> same;
    for (const std::string& other : leaves) {
      const bool equal = layers_of[other] == layers_of[leaf];
      if (equal && done.insert(other).second) same.push_back(other);
    }
    if (same.empty()) continue;
    std::vector<int64_t>& layers = layers_of[leaf];
    std::sort(layers.begin(), layers.end());
    const bool all = static_cast<int64_t>(layers.size()) == num_layers;
    const char* word = layers.size() == 1 ? " of layer " : " of layers ";
    groups.push_back(
        absl::StrCat(absl::StrJoin(same, ", "), all ? "" : absl::StrCat(word, Ranges(layers))));
  }
  return absl::StrJoin(groups, "; ");
}

std::string ToString(const ModuleNames& modules) {
  if (!modules.regex.empty()) return absl::StrCat("'", Printable(modules.regex), "'");
  if (modules.AllLinear()) return ModuleNames::kAllLinear;
  return absl::StrCat("[", Printable(absl::StrJoin(modules.names, ", ")), "]");
}

}  // namespace fttrain
