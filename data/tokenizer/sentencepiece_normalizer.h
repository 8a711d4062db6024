// sentencepiece's normalization of a text (Kudo and Richardson, arXiv:1808.06226, section 3): rules
// compiled into a table of characters, spaces made visible as U+2581, one put in front.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "data/tokenizer/piece_trie.h"
#include "data/tokenizer/sentencepiece_file.h"

namespace fttrain {

class SentencePieceNormalizer {
 public:
  SentencePieceNormalizer() = default;
  // InvalidArgument for a table that is cut short or whose values are not where a
  // character begins, or spaces as suffixes.
  static absl::StatusOr<SentencePieceNormalizer> Create(const SentencePieceFile& file);

  // `text` is well-formed UTF-8. `prefix`: with a space in front, if the model has one there.
  // ResourceExhausted where the rules make more than kMaxNormalizedBytes (text_limit.h) of it.
  absl::StatusOr<std::string> Apply(std::string_view text, bool prefix) const;

 private:
  // What the longest rule at the beginning makes of it, and how many bytes that takes.
  std::pair<std::string_view, size_t> First(std::string_view text) const;

  std::vector<uint32_t> rules_;  // a double array (the darts-clone library's) over UTF-8 bytes
  std::string results_;          // each ends in NUL; a rule's value is where its result begins
  PieceTrie kept_;               // user-defined pieces are kept as they are
  bool dummy_prefix_ = false, remove_extra_spaces_ = false;
  std::string space_;
};

}  // namespace fttrain
