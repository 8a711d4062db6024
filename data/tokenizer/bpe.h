// Byte-pair encoding of one word (Sennrich et al., arXiv:1508.07909), as tokenizer.json,
// tekken.json and sentencepiece's BPE models define it.
#pragma once

#include <memory>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "data/tokenizer/piece_trie.h"
#include "data/tokenizer/sentencepiece_file.h"
#include "data/tokenizer/token_model.h"

namespace fttrain {

class JsonNode;

class BpeModel : public TokenModel {
 public:
  // Reads `model` of tokenizer.json. With `byte_level` words come as plain bytes, and the
  // vocabulary's spellings are undone; otherwise words are UTF-8 and their symbols characters.
  static absl::StatusOr<std::unique_ptr<BpeModel>> FromJson(const JsonNode& model, bool byte_level);
  // tokens[i], a string of bytes, has the id first_id + i. Two neighbours merge where their bytes
  // together are a token, that of the lowest id first; a word that is a token is that token.
  // InvalidArgument if a byte has no token or two tokens are equal.
  static absl::StatusOr<std::unique_ptr<BpeModel>> FromRanks(absl::Span<const std::string> tokens,
                                                             int32_t first_id);
  // A sentencepiece model of type BPE. Words are normalized text; whatever has no piece becomes its
  // bytes' pieces, else the unknown one, once for a run.
  static absl::StatusOr<std::unique_ptr<BpeModel>> FromPieces(const SentencePieceFile& file);

  void Encode(std::string_view word, ModelScratch* scratch, std::vector<Piece>* out) const override;

 private:
  struct Merge {
    uint32_t rank;
    int32_t id;
  };
  absl::Status ReadVocabulary(const JsonNode& vocab);
  absl::Status ReadMerges(const JsonNode& merges);
  absl::Status ReadOptions(const JsonNode& model);
  void IndexSymbols();
  void IndexPieceMerges(const SentencePieceFile& file,
                        const absl::flat_hash_map<std::string, int32_t>& normal);
  void ForbidCutsInside(std::string_view token);
  int32_t WordId(std::string_view word) const;
  size_t NextCut(std::string_view word, size_t at) const;

  void EncodePart(std::string_view word, ModelScratch* scratch, std::vector<Piece>* out) const;
  void Merged(std::string_view word, ModelScratch* scratch, std::vector<Piece>* out) const;
  void SplitBytes(std::string_view word, ModelScratch* scratch) const;
  void SplitCharacters(std::string_view word, ModelScratch* scratch) const;
  void SplitPieces(std::string_view word, ModelScratch* scratch) const;
  void AppendPieces(std::string_view word, const ModelScratch& scratch,
                    std::vector<Piece>* out) const;
  void Push(int32_t position, ModelScratch* scratch) const;

  bool byte_level_ = false, ignore_merges_ = false, byte_fallback_ = false, fuse_unk_ = false;
  int32_t unk_ = -1;
  absl::flat_hash_map<std::string, int32_t> word_id_;  // byte_level: by bytes
  int32_t byte_id_[256];  // byte_level: a byte's symbol; else its fallback token; -1: none
  bool all_bytes_ = false;
  absl::flat_hash_map<uint64_t, Merge> merges_;  // (left << 32 | right)

  // FromPieces: pieces that are never merged, and symbols for characters that are no piece but
  // begin or end one; their ids are those behind the vocabulary's.
  bool pieces_ = false;
  PieceTrie whole_;
  absl::flat_hash_map<std::string, int32_t> symbol_id_;

  // No token has U+2581 behind another character, but for these characters: a word is cut there.
  bool cuts_ = false;
  absl::flat_hash_set<uint32_t> before_space_;
};

}  // namespace fttrain
