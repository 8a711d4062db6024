// Regular expressions over module names as Python's re reads them, which is what PEFT's settings
// are written for. PCRE2 matches them; syntax that it reads differently is refused.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace fttrain {

class PythonRegex {
 public:
  // InvalidArgument, with the pattern and what is wrong, for one that does not compile or that
  // Python would refuse or read otherwise.
  static absl::StatusOr<PythonRegex> Compile(const std::string& pattern);
  PythonRegex(PythonRegex&&) noexcept;
  ~PythonRegex();

  // re.fullmatch(pattern, name). ResourceExhausted if the engine gives up.
  absl::StatusOr<bool> FullMatch(std::string_view name) const;
  // What the named group of re.match(pattern, name) holds; nothing without a match.
  absl::StatusOr<std::optional<std::string>> GroupOfMatch(std::string_view name,
                                                          const char* group) const;

 private:
  struct Code;
  explicit PythonRegex(std::unique_ptr<Code> code);
  std::unique_ptr<Code> code_;
};

}  // namespace fttrain
