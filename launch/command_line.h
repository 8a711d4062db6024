// The words after `fttrain`: a subcommand, and --name=value flags (or --name value). Pure.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace fttrain {

struct CommandLine {
  std::string command;                                    // "train" if none was given
  std::map<std::string, std::vector<std::string>> flags;  // a switch has the value "true"

  bool Has(const std::string& flag) const { return flags.count(flag) > 0; }
  // The last value given, or `fallback`.
  std::string Get(const std::string& flag, const std::string& fallback = "") const;
  std::vector<std::string> All(const std::string& flag) const;
};

// InvalidArgument for an unknown command or flag (with the nearest known one), a missing value, or
// a stray word.
absl::StatusOr<CommandLine> ParseCommandLine(int argc, const char* const* argv);

// What `fttrain help` prints.
std::string Usage();

}  // namespace fttrain
