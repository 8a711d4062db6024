// The patterns that most tokenizers cut text with, on ASCII: without an engine, and as it does.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <vector>

namespace fttrain {

class AsciiWords {
 public:
  // Of a pattern as a file has it; nullopt if one of its alternatives is not known here.
  static std::optional<AsciiWords> Of(std::string_view pattern);

  // Where the match that begins at `at` < text.size() ends. 0: the engine must say, for none
  // begins there, or what it would look at is not all ASCII.
  size_t EndOfMatch(std::string_view text, size_t at) const;

  struct Alternative;

 private:
  std::vector<const Alternative*> alternatives_;  // in order: the first that matches counts
};

}  // namespace fttrain
