// BpeModel's tables, from the three kinds of file.
#include <algorithm>

#include "absl/strings/str_format.h"
#include "data/text/unicode.h"
#include "data/tokenizer/bpe.h"
#include "data/tokenizer/pair_key.h"
#include "runtime/files/json.h"

namespace fttrain {
namespace {

constexpr uint32_t kSpaceMark = 0x2581;

// A merge is "a b" or ["a", "b"]; false for other values.
bool SplitMerge(const nlohmann::json& merge, std::string* left, std::string* right) {
  if (merge.is_array()) {
    if (merge.size() != 2 || !merge[0].is_string() || !merge[1].is_string()) return false;
    *left = merge[0].get<std::string>();
    *right = merge[1].get<std::string>();
    return true;
  }
  if (!merge.is_string()) return false;
  const std::string& text = merge.get_ref<const std::string&>();
  const size_t space = text.find(' ');
  if (space == std::string::npos || text.find(' ', space + 1) != std::string::npos) return false;
  *left = text.substr(0, space);
  *right = text.substr(space + 1);
  return true;
}

absl::string_view View(std::string_view s) { return {s.data(), s.size()}; }

size_t FirstLength(std::string_view text) {
  return Utf8Length(static_cast<unsigned char>(text[0]));
}

}  // namespace

// Remembers which characters `token` has before a space mark.
void BpeModel::ForbidCutsInside(std::string_view token) {
  uint32_t previous = kSpaceMark;
  for (size_t i = 0; i < token.size(); i += Utf8Length(static_cast<unsigned char>(token[i]))) {
    const uint32_t c = Utf8CodePoint(token, i);
    if (c == kSpaceMark && i > 0) before_space_.insert(previous);
    previous = c;
  }
}

absl::StatusOr<std::unique_ptr<BpeModel>> BpeModel::FromJson(const JsonNode& model,
                                                             bool byte_level) {
  FT_RETURN_IF_ERROR(model.OnlyKeys({"type", "dropout", "unk_token", "continuing_subword_prefix",
                                     "end_of_word_suffix", "fuse_unk", "byte_fallback",
                                     "ignore_merges", "vocab", "merges"}));
  auto bpe = std::make_unique<BpeModel>();
  bpe->byte_level_ = byte_level;
  FT_RETURN_IF_ERROR(bpe->ReadVocabulary(model["vocab"]));
  FT_RETURN_IF_ERROR(bpe->ReadMerges(model["merges"]));
  FT_RETURN_IF_ERROR(bpe->ReadOptions(model));
  // Where a character may be unknown, a word is not the sum of its parts.
  bpe->before_space_.insert(kSpaceMark);
  bpe->cuts_ = !byte_level && bpe->byte_fallback_ && bpe->all_bytes_;
  return bpe;
}

absl::Status BpeModel::ReadVocabulary(const JsonNode& vocab) {
  FT_RETURN_IF_ERROR(vocab.IsObject());
  for (const auto& [token, id] : vocab.value().items()) {
    const JsonNode entry(&id, absl::StrCat(vocab.path(), "['", Printable(token), "']"));
    FT_ASSIGN_OR_RETURN(const int64_t value, entry.Int(0, kMaxTokens - 1));
    const absl::Status added = vocabulary_.Add(token, value);
    if (!added.ok()) return entry.Error(added.message());
  }
  if (vocabulary_.size() == 0) return vocab.Error("the vocabulary is empty");
  IndexSymbols();
  return absl::OkStatus();
}

void BpeModel::IndexSymbols() {
  all_bytes_ = true;
  std::string bytes;
  if (byte_level_) {
    for (const auto& [token, id] : vocabulary_.ids()) {
      if (BytesOfByteLevelToken(token, &bytes)) word_id_.emplace(bytes, id);
    }
  }
  for (int b = 0; b < 256; ++b) {
    std::string symbol;
    if (byte_level_) {
      AppendUtf8(ByteLevelCharacter(static_cast<unsigned char>(b)), &symbol);
    } else {
      symbol = absl::StrFormat("<0x%02X>", b);
    }
    byte_id_[b] = vocabulary_.Find(symbol);
    all_bytes_ = all_bytes_ && byte_id_[b] >= 0;
  }
}

absl::Status BpeModel::ReadMerges(const JsonNode& merges) {
  FT_RETURN_IF_ERROR(merges.IsArray());
  std::string left, right;
  merges_.reserve(merges.size());
  uint32_t rank = 0;
  for (size_t i = 0; i < merges.size(); ++i) {
    const nlohmann::json& merge = merges.value()[i];
    if (merge.is_string() && merge.get_ref<const std::string&>().rfind("#version", 0) == 0)
      continue;
    if (!SplitMerge(merge, &left, &right)) return merges[i].Error("a merge is two tokens");
    const int32_t a = vocabulary_.Find(left), b = vocabulary_.Find(right);
    const int32_t whole = vocabulary_.Find(left + right);
    if (a < 0 || b < 0 || whole < 0) {
      return merges[i].Error(absl::StrCat("merge '", Printable(left), "' + '", Printable(right),
                                          "' has a token that is not in the vocabulary"));
    }
    merges_[PairKey(a, b)] = {rank++, whole};
    if (!byte_level_) ForbidCutsInside(left + right);
  }
  return absl::OkStatus();
}

absl::Status BpeModel::ReadOptions(const JsonNode& model) {
  for (const char* key : {"dropout", "continuing_subword_prefix", "end_of_word_suffix"}) {
    FT_RETURN_IF_ERROR(model.MustBeOff(key));
  }
  FT_ASSIGN_OR_RETURN(ignore_merges_, model["ignore_merges"].Bool(false));
  FT_ASSIGN_OR_RETURN(byte_fallback_, model["byte_fallback"].Bool(false));
  FT_ASSIGN_OR_RETURN(fuse_unk_, model["fuse_unk"].Bool(false));
  if (byte_level_ && byte_fallback_ && !all_bytes_) {
    return model["byte_fallback"].Error("not supported with the ByteLevel pre-tokenizer");
  }
  if (model["unk_token"].present()) {
    FT_ASSIGN_OR_RETURN(const std::string unk, model["unk_token"].String());
    unk_ = vocabulary_.Find(unk);
    // Where every byte has a token nothing is unknown, and files name tokens they do not have.
    const bool never_used = all_bytes_ && (byte_level_ || byte_fallback_);
    if (unk_ < 0 && !never_used) return model["unk_token"].Error("not in the vocabulary");
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<BpeModel>> BpeModel::FromRanks(absl::Span<const std::string> tokens,
                                                              int32_t first_id) {
  auto bpe = std::make_unique<BpeModel>();
  bpe->byte_level_ = bpe->ignore_merges_ = true;
  for (size_t i = 0; i < tokens.size(); ++i) {
    std::string spelling;
    for (const char c : tokens[i]) {
      AppendUtf8(ByteLevelCharacter(static_cast<unsigned char>(c)), &spelling);
    }
    FT_RETURN_IF_ERROR(bpe->vocabulary_.Add(spelling, first_id + static_cast<int64_t>(i)));
  }
  bpe->IndexSymbols();
  if (!bpe->all_bytes_) return absl::InvalidArgumentError("a byte has no token");
  for (size_t i = 0; i < tokens.size(); ++i) {
    const std::string_view token = tokens[i];
    const int32_t id = first_id + static_cast<int32_t>(i);
    for (size_t at = 1; at < token.size(); ++at) {
      const auto left = bpe->word_id_.find(View(token.substr(0, at)));
      const auto right = bpe->word_id_.find(View(token.substr(at)));
      if (left == bpe->word_id_.end() || right == bpe->word_id_.end()) continue;
      bpe->merges_.emplace(PairKey(left->second, right->second),
                           Merge{static_cast<uint32_t>(i), id});
    }
  }
  return bpe;
}

absl::StatusOr<std::unique_ptr<BpeModel>> BpeModel::FromPieces(const SentencePieceFile& file) {
  auto bpe = std::make_unique<BpeModel>();
  bpe->pieces_ = true;
  bpe->unk_ = file.unk;
  bpe->byte_fallback_ = bpe->cuts_ = file.byte_fallback;
  bpe->before_space_.insert(kSpaceMark);
  std::vector<std::pair<std::string, int32_t>> whole;
  absl::flat_hash_map<std::string, int32_t> normal;
  for (size_t i = 0; i < file.pieces.size(); ++i) {
    const auto& [text, score, type] = file.pieces[i];
    const int32_t id = static_cast<int32_t>(i);
    FT_RETURN_IF_ERROR(bpe->vocabulary_.Add(text, id));
    if (type == SentencePieceFile::kUserDefined) whole.emplace_back(text, id);
    if (type == SentencePieceFile::kNormal) normal.emplace(text, id);
    if (type == SentencePieceFile::kUserDefined || type == SentencePieceFile::kNormal) {
      bpe->ForbidCutsInside(text);
    }
  }
  bpe->whole_ = PieceTrie(std::move(whole));
  bpe->IndexSymbols();
  bpe->IndexPieceMerges(file, normal);
  return bpe;
}

// All pairs of pieces, or of single characters that may be none, that together are a piece.
void BpeModel::IndexPieceMerges(const SentencePieceFile& file,
                                const absl::flat_hash_map<std::string, int32_t>& normal) {
  std::vector<float> scores;
  for (const auto& [text, id] : normal) {
    scores.push_back(file.pieces[static_cast<size_t>(id)].score);
  }
  std::sort(scores.begin(), scores.end(), std::greater<>());
  int32_t next = vocabulary_.max_id() + 1;
  const auto symbol = [&](std::string_view text) {  // -1: it can be none
    const auto found = normal.find(View(text));
    if (FirstLength(text) < text.size()) return found == normal.end() ? -1 : found->second;
    const auto [entry, is_new] = symbol_id_.try_emplace(std::string(text), next);
    if (is_new && found != normal.end()) entry->second = found->second;
    if (is_new && found == normal.end()) ++next;
    return entry->second;
  };
  for (const auto& [text, id] : normal) {
    // Equal scores are equal ranks: the leftmost pair comes first.
    const float score = file.pieces[static_cast<size_t>(id)].score;
    const auto rank = std::lower_bound(scores.begin(), scores.end(), score, std::greater<>());
    const Merge merge{static_cast<uint32_t>(rank - scores.begin()), id};
    const std::string_view token = text;
    if (FirstLength(token) == token.size()) symbol(token);
    for (size_t at = FirstLength(token); at < token.size(); at += FirstLength(token.substr(at))) {
      const int32_t left = symbol(token.substr(0, at)), right = symbol(token.substr(at));
      if (left >= 0 && right >= 0) merges_.emplace(PairKey(left, right), merge);
    }
  }
}

}  // namespace fttrain
