#include "data/tokenizer/unigram.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_format.h"
#include "data/text/unicode.h"
#include "runtime/files/json.h"

namespace fttrain {
namespace {

constexpr double kUnknownPenalty = 10;
// Beyond it sentencepiece's float32 sums start again from 0, lest they lose the scores' digits.
constexpr double kLargestSum = 100000;

}  // namespace

void UnigramModel::IndexBytes() {
  for (int b = 0; b < 256; ++b) byte_id_[b] = vocabulary_.Find(absl::StrFormat("<0x%02X>", b));
}

absl::StatusOr<std::unique_ptr<UnigramModel>> UnigramModel::FromJson(const JsonNode& model) {
  FT_RETURN_IF_ERROR(model.OnlyKeys({"type", "vocab", "unk_id", "byte_fallback"}));
  auto unigram = std::make_unique<UnigramModel>();
  FT_ASSIGN_OR_RETURN(unigram->byte_fallback_, model["byte_fallback"].Bool(false));
  const JsonNode vocab = model["vocab"];
  FT_RETURN_IF_ERROR(vocab.IsArray());
  std::vector<std::pair<std::string, int32_t>> entries;
  double lowest = std::numeric_limits<double>::max();
  for (size_t i = 0; i < vocab.size(); ++i) {
    const nlohmann::json& entry = vocab.value()[i];
    if (!entry.is_array() || entry.size() != 2 || !entry[0].is_string() || !entry[1].is_number()) {
      return vocab[i].Error("an entry is [piece, score]");
    }
    const std::string piece = entry[0].get<std::string>();
    const absl::Status added = unigram->vocabulary_.Add(piece, static_cast<int64_t>(i));
    if (!added.ok()) return vocab[i].Error(added.message());
    entries.emplace_back(piece, static_cast<int32_t>(i));
    unigram->scores_.push_back(entry[1].get<double>());
    lowest = std::min(lowest, unigram->scores_.back());
  }
  if (entries.empty()) return vocab.Error("the vocabulary is empty");
  FT_ASSIGN_OR_RETURN(const int64_t unk,
                      model["unk_id"].Int(0, static_cast<int64_t>(entries.size()) - 1));
  unigram->unk_ = static_cast<int32_t>(unk);
  unigram->unk_score_ = lowest - kUnknownPenalty;
  unigram->trie_ = PieceTrie(std::move(entries));
  unigram->IndexBytes();
  return unigram;
}

absl::StatusOr<std::unique_ptr<UnigramModel>> UnigramModel::FromPieces(
    const SentencePieceFile& file) {
  auto unigram = std::make_unique<UnigramModel>();
  unigram->float32_ = true;
  unigram->byte_fallback_ = file.byte_fallback;
  unigram->unk_ = file.unk;
  std::vector<std::pair<std::string, int32_t>> entries;
  float lowest = std::numeric_limits<float>::max();
  for (size_t i = 0; i < file.pieces.size(); ++i) {
    const SentencePieceFile::Entry& piece = file.pieces[i];
    FT_RETURN_IF_ERROR(unigram->vocabulary_.Add(piece.text, static_cast<int64_t>(i)));
    const bool user_defined = piece.type == SentencePieceFile::kUserDefined;
    const double by_length = 0.1 * (static_cast<double>(piece.text.size()) - 1);
    unigram->scores_.push_back(user_defined ? static_cast<float>(by_length) : piece.score);
    if (piece.type == SentencePieceFile::kNormal) lowest = std::min(lowest, piece.score);
    if (user_defined || piece.type == SentencePieceFile::kNormal) {
      entries.emplace_back(piece.text, static_cast<int32_t>(i));
    }
  }
  unigram->unk_score_ = lowest - static_cast<float>(kUnknownPenalty);
  unigram->trie_ = PieceTrie(std::move(entries));
  unigram->IndexBytes();
  return unigram;
}

void UnigramModel::Search(std::string_view word, std::vector<ModelScratch::Path>* paths) const {
  paths->assign(word.size() + 1, {0, -1, -1});
  size_t reached = 0;
  for (size_t at = 0, length = 1; at < word.size(); at += length) {
    length = Utf8Length(static_cast<unsigned char>(word[at]));
    double base = (*paths)[at].score;
    if (float32_ && std::fabs(base) > kLargestSum) {
      for (size_t i = at; i <= reached; ++i) {
        ModelScratch::Path& path = (*paths)[i];
        if (i == at || path.begin >= 0) path.score = Sum(path.score, -base);
      }
      base = 0;
    }
    const auto offer = [&](size_t bytes, int32_t id, double score) {
      reached = std::max(reached, at + bytes);
      ModelScratch::Path& path = (*paths)[at + bytes];
      const double sum = Sum(score, base);
      if (path.begin < 0 || sum > path.score) path = {sum, id, static_cast<int32_t>(at)};
    };
    bool single = false;
    trie_.ForEachAt(word, at, [&](size_t bytes, int32_t id) {
      offer(bytes, id, scores_[static_cast<size_t>(id)]);
      single = single || bytes == length;
    });
    if (!single) offer(length, unk_, unk_score_);
  }
}

bool UnigramModel::SplitsIntoBytes(std::string_view text) const {
  return byte_fallback_ && std::all_of(text.begin(), text.end(), [&](char c) {
           return byte_id_[static_cast<unsigned char>(c)] >= 0;
         });
}

void UnigramModel::Encode(std::string_view word, ModelScratch* scratch,
                          std::vector<Piece>* out) const {
  if (word.empty()) return;
  Search(word, &scratch->paths);
  const size_t first = out->size();
  for (size_t end = word.size(); end > 0;) {
    const ModelScratch::Path& path = scratch->paths[end];
    const size_t begin = static_cast<size_t>(path.begin);
    const uint32_t bytes = static_cast<uint32_t>(end - begin);
    const bool joins = path.id == unk_ && out->size() > first && out->back().id == unk_;
    if (joins) {
      out->back().bytes += bytes;
    } else {
      out->push_back({path.id, bytes});
    }
    end = begin;
  }
  std::reverse(out->begin() + static_cast<std::ptrdiff_t>(first), out->end());
  if (!byte_fallback_) return;
  const std::vector<Piece> pieces(out->begin() + static_cast<std::ptrdiff_t>(first), out->end());
  out->resize(first);
  size_t at = 0;
  for (const Piece& piece : pieces) {
    const std::string_view text = word.substr(at, piece.bytes);
    at += piece.bytes;
    if (piece.id != unk_ || !SplitsIntoBytes(text)) {
      out->push_back(piece);
      continue;
    }
    for (const char c : text) out->push_back({byte_id_[static_cast<unsigned char>(c)], 1});
  }
}

}  // namespace fttrain
