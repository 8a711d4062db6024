// The words after `fttrain`: a command, its config, overrides of the config's keys and flags. Pure.
// A config is --config=FILE or a word that ends in .yaml, .yml or .json. An override is
// --set KEY=VALUE, KEY=VALUE or --KEY=VALUE. Flags are --name=value or --name value, in which
// dashes and underscores are one; those of one letter may have one dash: -n 3, -n3. A ~ at the
// beginning of a flag's path is the home folder.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"

namespace fttrain {

struct CommandLine {
  std::string command;  // "train" if none was given; "version" of --version
  std::string topic;    // of "help": the command it is about, or ""
  // By their names in command_table.h. A switch has the value "true"; "set" holds all overrides, as
  // "section.key=value" in the order written.
  std::map<std::string, std::vector<std::string>> flags;

  bool Has(const std::string& flag) const { return flags.count(flag) > 0; }
  // The last value given, else the table's default. The command has the flag.
  std::string Get(const std::string& flag) const;
  std::vector<std::string> All(const std::string& flag) const;
  // Get as a number, T int64_t or double. InvalidArgument ("--steps=0: must be ...") unless it is
  // one and `fits`.
  template <typename T>
  absl::StatusOr<T> Number(const std::string& flag, absl::FunctionRef<bool(T)> fits,
                           const char* must_be) const;
};

// InvalidArgument for an unknown command or flag (with the nearest known one), a missing value, a
// stray word or a second config, with what to write instead.
absl::StatusOr<CommandLine> ParseCommandLine(int argc, const char* const* argv);

}  // namespace fttrain
