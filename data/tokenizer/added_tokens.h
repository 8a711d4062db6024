// `added_tokens` of tokenizer.json: tokens found in the text before anything else looks at it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "data/tokenizer/piece_trie.h"
#include "data/tokenizer/vocabulary.h"

namespace fttrain {

class JsonNode;
class Normalizer;

struct AddedToken {
  int32_t id = 0;
  std::string content;
  std::string spelling;  // what it decodes to: the content, normalized if the token is
  bool special = false, normalized = false, lstrip = false, rstrip = false, single_word = false;
};

class AddedTokens {
 public:
  // A stretch of text: an added token, or (id < 0) what is between.
  struct Section {
    size_t begin, end;
    int32_t id;
  };

  // `list`: added_tokens of tokenizer.json; `more`: added_tokens_decoder of tokenizer_config.json;
  // either may be absent. A token with two ids is refused.
  static absl::StatusOr<AddedTokens> Create(const JsonNode& list, const JsonNode& more,
                                            const Vocabulary& vocabulary,
                                            const Normalizer& normalizer);

  // Sections of raw text by the tokens that are matched before normalization, or of normalized text
  // by the others. Of several tokens at one place the longest counts.
  void Split(std::string_view text, bool normalized, std::vector<Section>* out) const;

  const std::vector<AddedToken>& tokens() const { return tokens_; }
  const AddedToken* FindId(int32_t id) const;
  const AddedToken* FindContent(std::string_view content) const;

 private:
  absl::Status Add(const JsonNode& node, AddedToken token, const Vocabulary& vocabulary);
  absl::Status Index(const Normalizer& normalizer);

  std::vector<AddedToken> tokens_;
  absl::flat_hash_map<int32_t, size_t> by_id_;
  absl::flat_hash_map<std::string, size_t> by_content_;
  PieceTrie patterns_[2];  // [normalized] -> indices into tokens_
};

}  // namespace fttrain
