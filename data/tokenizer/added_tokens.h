// Tokens found in the text before anything else looks at it: `added_tokens` of tokenizer.json, and
// what other files of a folder add. Their ids are those that `tokenizers` gives them: the id that
// the vocabulary has for the content, else the next one behind, whatever the file says.
#pragma once

#include <cstdint>
#include <optional>
#include <set>
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
  bool operator==(const AddedToken&) const = default;
};

class AddedTokens {
 public:
  // A stretch of text: an added token, or (id < 0) what is between.
  struct Section {
    size_t begin, end;
    int32_t id;
  };

  // Where a file says another thing of a token than is done.
  struct Mention {
    std::string where;  // file and JSON path
    size_t token;       // index into tokens()
    int64_t written;    // the id there
  };

  // Two tokens that have one id, as `tokenizers` gives it where the vocabulary's ids have gaps.
  struct SharedId {
    std::string where, first, second;
    int32_t id;
  };

  // `vocabulary` must outlive this.
  AddedTokens() = default;
  explicit AddedTokens(const Vocabulary* vocabulary) : vocabulary_(vocabulary) {}

  // A list as tokenizer.json's, which may be absent; the first token that the vocabulary lacks has
  // the id `first_free` (in `tokenizers` the vocabulary's size, which is less than its ids where
  // these have gaps). Of a token that stands there twice the later flags count.
  absl::Status AddList(const JsonNode& list, int64_t first_free);
  // added_tokens_decoder of tokenizer_config.json, which may be absent, as transformers adds it to
  // the list's: in the order of its ids; flags replace those of a token that is there. New ones
  // have ids from `first_free` or behind the added tokens so far.
  absl::Status AddDecoder(const JsonNode& decoder, int64_t first_free);
  // added_tokens.json, {token: id}, in which transformers passes over an id that the list has.
  // Tokens in `special` are special and matched before normalization, others neither.
  absl::Status AddFile(const JsonNode& file, const std::set<std::string>& special,
                       int64_t first_free);
  // One that a key names (such as eos_token), or that a list of special tokens has: a string or an
  // object. What is there keeps its flags, but that a named one becomes special.
  absl::Status AddSpecial(const JsonNode& token, bool named, int64_t first_free);
  // To be called when all are there, before Split. With `raw` all are matched before normalization.
  absl::Status Index(const Normalizer& normalizer, bool raw = false);

  // Sections of raw text by the tokens that are matched before normalization, or of normalized text
  // by the others. Of several tokens at one place the longest counts.
  void Split(std::string_view text, bool normalized, std::vector<Section>* out) const;

  const std::vector<AddedToken>& tokens() const { return tokens_; }
  const AddedToken* FindId(int32_t id) const;
  const AddedToken* FindContent(std::string_view content) const;
  // Tokens to which a file gives another id than they have, or other flags than one before.
  const std::vector<Mention>& renumbered() const { return renumbered_; }
  const std::vector<Mention>& reflagged() const { return reflagged_; }
  const std::vector<SharedId>& shared() const { return shared_; }
  // The greatest id that a file gives the added token `id` instead; -1 if none does.
  int64_t WrittenId(int32_t id) const {
    if (written_.empty()) return -1;
    const auto found = written_.find(id);
    return found == written_.end() ? -1 : found->second;
  }

 private:
  // `next` is the id of a token that neither this nor the vocabulary has; `written` may be none.
  absl::Status Add(const JsonNode& node, AddedToken token, std::optional<int64_t> written,
                   int64_t* next);
  int64_t NextFree(int64_t first_free) const;

  const Vocabulary* vocabulary_ = nullptr;
  std::vector<AddedToken> tokens_;
  absl::flat_hash_map<int32_t, size_t> by_id_;
  absl::flat_hash_map<std::string, size_t> by_content_;
  PieceTrie patterns_[2];  // [normalized] -> indices into tokens_
  std::vector<Mention> renumbered_, reflagged_;
  std::vector<SharedId> shared_;
  absl::flat_hash_map<int32_t, int64_t> written_;  // by id, where a file has another
  std::set<int64_t> listed_;                       // ids that the list writes
};

}  // namespace fttrain
