// Finds the matches of a tokenizer's pattern: PCRE2 (UTF, Unicode properties, JIT) made to agree
// with Oniguruma's Ruby syntax, in which tokenizer.json is written. \s and \S become explicit
// classes (PCRE2 also counts U+180E), \p{Han} a script without its extensions, \uXXXX becomes
// \x{XXXX}, ^ and $ stand at lines' ends.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace fttrain {

struct TextRange {
  size_t begin;
  size_t end;
};

// What a thread needs to match: made on first use and kept.
class RegexScratch {
 public:
  RegexScratch();
  ~RegexScratch();
  RegexScratch(const RegexScratch&) = delete;
  RegexScratch& operator=(const RegexScratch&) = delete;

 private:
  friend class SplitRegex;
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Safe from several threads, each with a scratch of its own.
class SplitRegex {
 public:
  // InvalidArgument for syntax that the two engines read differently (named), or that does not
  // compile.
  static absl::StatusOr<std::unique_ptr<SplitRegex>> Compile(std::string_view oniguruma);
  // Matches exactly the string.
  static std::unique_ptr<SplitRegex> Literal(std::string_view text);
  ~SplitRegex();
  SplitRegex(const SplitRegex&) = delete;
  SplitRegex& operator=(const SplitRegex&) = delete;

  // Matches from left to right, not overlapping. `text` is well-formed UTF-8. ResourceExhausted if
  // the engine gives up.
  absl::Status FindAll(std::string_view text, RegexScratch* scratch,
                       std::vector<TextRange>* matches) const;
  // `text` with `content` in place of every match, taken literally. ResourceExhausted, too, where
  // that is beyond kMaxNormalizedBytes (text_limit.h).
  absl::StatusOr<std::string> ReplaceAll(std::string_view text, std::string_view content,
                                         RegexScratch* scratch) const;

 private:
  struct Impl;
  explicit SplitRegex(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace fttrain
