// `normalizer` of tokenizer.json: NFC, NFD, NFKC, NFKD, Prepend, Replace, Sequence.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "data/text/unicode.h"
#include "data/tokenizer/split_regex.h"

namespace fttrain {

class JsonNode;

class Normalizer {
 public:
  // An absent node is the identity. Other types are refused by name.
  static absl::StatusOr<Normalizer> Create(const JsonNode& node);
  bool identity() const { return steps_.empty(); }
  bool prepends() const;  // puts something in front of a text
  absl::StatusOr<std::string> Apply(std::string_view text, RegexScratch* scratch) const;

 private:
  struct Step {
    enum { kUnicode, kPrepend, kReplace } kind;
    UnicodeForm form = UnicodeForm::kNfc;
    std::string content;                          // kPrepend, kReplace
    std::shared_ptr<const SplitRegex> pattern{};  // kReplace
  };
  absl::Status Add(const JsonNode& node);

  std::vector<Step> steps_;
};

// {"String": "..."} or {"Regex": "..."}.
absl::StatusOr<std::shared_ptr<const SplitRegex>> ReadPattern(const JsonNode& node);

}  // namespace fttrain
