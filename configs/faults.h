// All faults of a configuration at once, in the order of their lines.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_join.h"

namespace fttrain::config {

class Faults {
 public:
  void Add(int line, const std::string& text) { faults_.emplace(line, text); }

  // InvalidArgument with one line per fault; OK if there is none.
  absl::Status AsStatus() const {
    if (faults_.empty()) return absl::OkStatus();
    std::vector<std::string> lines;
    for (const auto& [line, text] : faults_) lines.push_back(text);
    return absl::InvalidArgumentError(absl::StrJoin(lines, "\n"));
  }

 private:
  std::multimap<int, std::string> faults_;  // equal lines keep their order
};

}  // namespace fttrain::config
