// The unigram language model of one text (Kudo, arXiv:1804.10959): of all ways to spell it with
// pieces, that of the highest sum of scores.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "data/tokenizer/piece_trie.h"
#include "data/tokenizer/sentencepiece_file.h"
#include "data/tokenizer/token_model.h"

namespace fttrain {

class JsonNode;

class UnigramModel : public TokenModel {
 public:
  // Reads `model` of tokenizer.json; sums are float64, as that library's.
  static absl::StatusOr<std::unique_ptr<UnigramModel>> FromJson(const JsonNode& model);
  // A sentencepiece model of type Unigram; sums are float32, as that library's.
  static absl::StatusOr<std::unique_ptr<UnigramModel>> FromPieces(const SentencePieceFile& file);

  void Encode(std::string_view word, ModelScratch* scratch, std::vector<Piece>* out) const override;

 private:
  double Sum(double a, double b) const { return float32_ ? static_cast<float>(a + b) : a + b; }
  void Search(std::string_view word, std::vector<ModelScratch::Path>* paths) const;
  bool SplitsIntoBytes(std::string_view text) const;
  void IndexBytes();

  bool float32_ = false, byte_fallback_ = false;
  int32_t unk_ = -1;
  double unk_score_ = 0;
  PieceTrie trie_;
  std::vector<double> scores_;  // by id; of user-defined pieces what their length gives
  int32_t byte_id_[256];
};

}  // namespace fttrain
