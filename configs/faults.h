// All faults of a configuration at once, in the order of their lines.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace fttrain::config {

inline std::string OneLine(const std::string& text) {
  std::string out;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7f) {
      absl::StrAppend(&out, "\\x", absl::Hex(byte, absl::kZeroPad2));
    } else {
      out += c;
    }
  }
  return out;
}

class Faults {
 public:
  // Control characters, which keys and values may hold, are escaped: a fault is one line.
  void Add(int line, const std::string& text) { faults_.emplace(line, OneLine(text)); }

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
