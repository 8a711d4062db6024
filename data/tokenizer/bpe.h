// Byte-pair encoding of one word (Sennrich et al., arXiv:1508.07909), as the model of
// tokenizer.json defines it.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"

namespace fttrain {

class JsonNode;

// A token and how many bytes of the word it covers.
struct Piece {
  int32_t id;
  uint32_t bytes;
};

// One thread at a time: keeps a cache of words and scratch space.
class BpeModel {
 public:
  // Reads `model` of tokenizer.json. With `byte_level` words come as plain bytes, and the
  // vocabulary's spellings are undone; otherwise words are UTF-8 and their symbols characters.
  static absl::StatusOr<BpeModel> Create(const JsonNode& model, bool byte_level);

  // Appends the tokens of `word`.
  void Encode(std::string_view word, std::vector<Piece>* out) const;

  std::optional<int32_t> TokenToId(std::string_view token) const;
  // The file's spelling; null if the id is not in the vocabulary.
  const std::string* IdToToken(int32_t id) const;
  int64_t size() const { return static_cast<int64_t>(id_of_.size()); }
  int32_t max_id() const { return static_cast<int32_t>(tokens_.size()) - 1; }

 private:
  struct Merge {
    uint32_t rank;
    int32_t id;
  };
  struct Symbol {
    int32_t id;
    uint32_t bytes;  // 0: merged away
    int32_t prev, next;
  };
  // A merge that may be next: the lowest rank, of equal ones the leftmost.
  struct Candidate {
    uint32_t rank, position;
    int32_t id;
    auto operator<=>(const Candidate&) const = default;
  };

  absl::Status ReadVocabulary(const JsonNode& vocab);
  absl::Status ReadMerges(const JsonNode& merges);
  absl::Status ReadOptions(const JsonNode& model);
  void IndexSymbols();
  void Merged(std::string_view word, std::vector<Piece>* out) const;
  void Split(std::string_view word) const;
  void Push(int32_t position) const;

  bool byte_level_ = false, ignore_merges_ = false, byte_fallback_ = false, fuse_unk_ = false;
  int32_t unk_ = -1;
  absl::flat_hash_map<std::string, int32_t> id_of_;    // the file's spelling
  std::vector<std::string> tokens_;                    // of an id; empty: none
  absl::flat_hash_map<std::string, int32_t> word_id_;  // byte_level: by bytes
  int32_t byte_id_[256];  // byte_level: a byte's symbol; else its fallback token; -1: none
  absl::flat_hash_map<uint64_t, Merge> merges_;  // (left << 32 | right)
  bool all_bytes_ = false;
  mutable absl::flat_hash_map<std::string, std::vector<Piece>> cache_;
  mutable std::vector<Symbol> symbols_;
  mutable std::vector<Candidate> heap_;
};

}  // namespace fttrain
