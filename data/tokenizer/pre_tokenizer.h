// `pre_tokenizer` of tokenizer.json: cuts text into the words that BPE works on. ByteLevel (last),
// Split, Digits, Metaspace (first), Sequence.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "data/tokenizer/split_regex.h"

namespace fttrain {

class JsonNode;

class PreTokenizer {
 public:
  // `text` points into the text that was cut, or into `made` of Words. The first `inserted` bytes
  // are not from there.
  struct Word {
    std::string_view text;
    size_t begin;  // where it stands in the text that was cut
    size_t inserted;
  };
  struct Words {
    std::vector<Word> words;
    std::deque<std::string> made;
    std::vector<Word> next;  // scratch
    std::vector<TextRange> ranges;
    RegexScratch regex;
  };

  // An absent node makes the whole text one word. Other types, and orders that would matter, are
  // refused by name.
  static absl::StatusOr<PreTokenizer> Create(const JsonNode& node);
  // The matches of a pattern, as bytes; what lies between them is dropped (tiktoken's way).
  static absl::StatusOr<PreTokenizer> Matches(std::string_view pattern);
  bool byte_level() const { return byte_level_; }
  bool puts_space() const;  // in front of a text that has none there

  // What Metaspace makes of a text before it is cut; the identity without it. `at_start`: the text
  // begins the input.
  std::string Map(std::string_view text, bool at_start) const;
  // Cuts a mapped text, which must outlive the words.
  absl::Status Cut(std::string_view mapped, Words* out) const;
  bool maps() const { return !metaspace_.empty(); }

 private:
  enum class Behavior { kRemoved, kIsolated, kContiguous, kMergedWithPrevious, kMergedWithNext };
  enum class Kind { kPattern, kDigits, kPrefixSpace };
  struct Step {
    Kind kind;
    Behavior behavior = Behavior::kIsolated;
    bool invert = false;
    std::shared_ptr<const SplitRegex> pattern{};
  };

  absl::Status Add(const JsonNode& node);
  absl::Status AddSplit(const JsonNode& node);
  absl::Status AddByteLevel(const JsonNode& node);
  absl::Status AddMetaspace(const JsonNode& node);
  static absl::Status CutWord(const Step& step, const Word& word, Words* out);

  std::vector<Step> steps_;
  bool byte_level_ = false;
  std::string metaspace_;  // the replacement of a space; empty: none
  enum { kNever, kFirst, kAlways } prepend_ = kNever;
};

}  // namespace fttrain
