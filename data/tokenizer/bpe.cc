#include "data/tokenizer/bpe.h"

#include <algorithm>
#include <functional>

#include "absl/strings/str_format.h"
#include "data/text/unicode.h"
#include "runtime/files/json.h"

namespace fttrain {
namespace {

constexpr int64_t kMaxTokens = int64_t{1} << 24;
constexpr size_t kMaxCachedWords = size_t{1} << 17;
constexpr size_t kMaxCachedBytes = 64;  // longer words hardly come back

absl::string_view View(std::string_view s) { return {s.data(), s.size()}; }

uint64_t PairKey(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

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

}  // namespace

absl::StatusOr<BpeModel> BpeModel::Create(const JsonNode& model, bool byte_level) {
  FT_RETURN_IF_ERROR(model.IsObject());
  FT_ASSIGN_OR_RETURN(const std::string type, model["type"].String("BPE"));
  if (type != "BPE") return model["type"].Unsupported();
  BpeModel bpe;
  bpe.byte_level_ = byte_level;
  FT_RETURN_IF_ERROR(bpe.ReadVocabulary(model["vocab"]));
  FT_RETURN_IF_ERROR(bpe.ReadMerges(model["merges"]));
  FT_RETURN_IF_ERROR(bpe.ReadOptions(model));
  return bpe;
}

absl::Status BpeModel::ReadVocabulary(const JsonNode& vocab) {
  FT_RETURN_IF_ERROR(vocab.IsObject());
  for (const auto& [token, id] : vocab.value().items()) {
    const JsonNode entry(&id, absl::StrCat(vocab.path(), "['", Printable(token), "']"));
    FT_ASSIGN_OR_RETURN(const int64_t value, entry.Int(0, kMaxTokens - 1));
    if (value >= static_cast<int64_t>(tokens_.size()))
      tokens_.resize(static_cast<size_t>(value) + 1);
    std::string& slot = tokens_[static_cast<size_t>(value)];
    if (token.empty()) return entry.Error("the empty string is no token");
    if (!slot.empty()) {
      return entry.Error(absl::StrCat("id ", value, " is also '", Printable(slot), "'"));
    }
    slot = token;
    id_of_.emplace(token, static_cast<int32_t>(value));
  }
  if (id_of_.empty()) return vocab.Error("the vocabulary is empty");
  IndexSymbols();
  return absl::OkStatus();
}

void BpeModel::IndexSymbols() {
  all_bytes_ = true;
  std::string bytes;
  if (byte_level_) {
    for (const auto& [token, id] : id_of_) {
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
    const auto found = id_of_.find(symbol);
    byte_id_[b] = found == id_of_.end() ? -1 : found->second;
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
    const auto a = id_of_.find(left), b = id_of_.find(right), whole = id_of_.find(left + right);
    if (a == id_of_.end() || b == id_of_.end() || whole == id_of_.end()) {
      return merges[i].Error(absl::StrCat("merge '", Printable(left), "' + '", Printable(right),
                                          "' has a token that is not in the vocabulary"));
    }
    merges_[PairKey(a->second, b->second)] = {rank++, whole->second};
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
    const std::optional<int32_t> id = TokenToId(unk);
    // Where every byte has a token nothing is unknown, and files name tokens they do not have.
    const bool never_used = all_bytes_ && (byte_level_ || byte_fallback_);
    if (!id.has_value() && !never_used) return model["unk_token"].Error("not in the vocabulary");
    unk_ = id.value_or(-1);
  }
  return absl::OkStatus();
}

std::optional<int32_t> BpeModel::TokenToId(std::string_view token) const {
  const auto it = id_of_.find(View(token));
  if (it == id_of_.end()) return std::nullopt;
  return it->second;
}

const std::string* BpeModel::IdToToken(int32_t id) const {
  if (id < 0 || id > max_id() || tokens_[static_cast<size_t>(id)].empty()) return nullptr;
  return &tokens_[static_cast<size_t>(id)];
}

void BpeModel::Encode(std::string_view word, std::vector<Piece>* out) const {
  if (word.empty()) return;
  const bool cacheable = word.size() <= kMaxCachedBytes;
  if (cacheable) {
    const auto hit = cache_.find(View(word));
    if (hit != cache_.end()) {
      out->insert(out->end(), hit->second.begin(), hit->second.end());
      return;
    }
  }
  const size_t first = out->size();
  const auto& words = byte_level_ ? word_id_ : id_of_;
  const auto whole = ignore_merges_ ? words.find(View(word)) : words.end();
  if (whole != words.end()) {
    out->push_back({whole->second, static_cast<uint32_t>(word.size())});
  } else {
    Merged(word, out);
  }
  if (cacheable) {
    if (cache_.size() >= kMaxCachedWords) cache_.clear();
    cache_.emplace(
        std::string(word),
        std::vector<Piece>(out->begin() + static_cast<std::ptrdiff_t>(first), out->end()));
  }
}

// The word's characters (bytes) as symbols. A character that is no token becomes its byte tokens,
// else the unknown token, else nothing. An unknown token waits until the next known character, even
// past byte tokens: as the format's own implementation has it.
void BpeModel::Split(std::string_view word) const {
  symbols_.clear();
  const auto add = [&](int32_t id, uint32_t bytes) {
    const int32_t n = static_cast<int32_t>(symbols_.size());
    symbols_.push_back({id, bytes, n - 1, n + 1});
  };
  uint32_t unknown_bytes = 0;
  const auto flush = [&] {
    if (unknown_bytes > 0) add(unk_, unknown_bytes);
    unknown_bytes = 0;
  };
  for (size_t i = 0, length = 1; i < word.size(); i += length) {
    const unsigned char byte = static_cast<unsigned char>(word[i]);
    length = byte_level_ ? 1 : Utf8Length(byte);
    int32_t id = byte_level_ ? byte_id_[byte] : -1;
    if (!byte_level_) {
      const auto it = id_of_.find(View(word.substr(i, length)));
      if (it != id_of_.end()) id = it->second;
    }
    if (id >= 0) {
      flush();
      add(id, static_cast<uint32_t>(length));
      continue;
    }
    const std::string_view character = word.substr(i, length);
    if (byte_fallback_ && std::all_of(character.begin(), character.end(), [&](char c) {
          return byte_id_[static_cast<unsigned char>(c)] >= 0;
        })) {
      for (const char c : character) add(byte_id_[static_cast<unsigned char>(c)], 1);
    } else if (unk_ >= 0) {
      if (!fuse_unk_) flush();
      unknown_bytes += static_cast<uint32_t>(length);
    }
  }
  flush();
  if (!symbols_.empty()) symbols_.back().next = -1;
}

void BpeModel::Push(int32_t position) const {
  const Symbol& left = symbols_[static_cast<size_t>(position)];
  if (left.next < 0) return;
  const auto merge = merges_.find(PairKey(left.id, symbols_[static_cast<size_t>(left.next)].id));
  if (merge == merges_.end()) return;
  heap_.push_back({merge->second.rank, static_cast<uint32_t>(position), merge->second.id});
  std::push_heap(heap_.begin(), heap_.end(), std::greater<>());
}

void BpeModel::Merged(std::string_view word, std::vector<Piece>* out) const {
  Split(word);
  heap_.clear();
  for (size_t i = 0; i + 1 < symbols_.size(); ++i) Push(static_cast<int32_t>(i));
  while (!heap_.empty()) {
    std::pop_heap(heap_.begin(), heap_.end(), std::greater<>());
    const Candidate top = heap_.back();
    heap_.pop_back();
    Symbol& left = symbols_[top.position];
    if (left.bytes == 0 || left.next < 0) continue;
    Symbol& right = symbols_[static_cast<size_t>(left.next)];
    // The pair may have changed since it was pushed; what counts is that it still makes the same
    // token.
    const auto merge = merges_.find(PairKey(left.id, right.id));
    if (merge == merges_.end() || merge->second.id != top.id) continue;
    left.id = top.id;
    left.bytes += right.bytes;
    left.next = right.next;
    right.bytes = 0;
    if (left.next >= 0)
      symbols_[static_cast<size_t>(left.next)].prev = static_cast<int32_t>(top.position);
    if (left.prev >= 0) Push(left.prev);
    Push(static_cast<int32_t>(top.position));
  }
  for (const Symbol& symbol : symbols_) {
    if (symbol.bytes > 0) out->push_back({symbol.id, symbol.bytes});
  }
}

}  // namespace fttrain
