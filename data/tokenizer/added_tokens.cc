#include "data/tokenizer/added_tokens.h"

#include <algorithm>
#include <map>

#include "absl/strings/numbers.h"
#include "data/text/unicode.h"
#include "data/tokenizer/normalizer.h"
#include "runtime/files/json.h"

namespace fttrain {
namespace {

constexpr int64_t kMaxId = (int64_t{1} << 24) - 1;
constexpr size_t kMaxSpelledBytes = size_t{1} << 24;

absl::StatusOr<AddedToken> ReadFlags(const JsonNode& node, bool special = false) {
  AddedToken token;
  FT_RETURN_IF_ERROR(node.OnlyKeys(
      {"id", "content", "special", "normalized", "lstrip", "rstrip", "single_word", "__type"}));
  FT_ASSIGN_OR_RETURN(token.content, node["content"].String());
  FT_ASSIGN_OR_RETURN(token.special, node["special"].Bool(false));
  token.special = token.special || special;
  FT_ASSIGN_OR_RETURN(token.normalized, node["normalized"].Bool(!token.special));
  FT_ASSIGN_OR_RETURN(token.lstrip, node["lstrip"].Bool(false));
  FT_ASSIGN_OR_RETURN(token.rstrip, node["rstrip"].Bool(false));
  FT_ASSIGN_OR_RETURN(token.single_word, node["single_word"].Bool(false));
  return token;
}

// Start of the character that ends at `end` > 0.
size_t PreviousCharacter(std::string_view text, size_t end) {
  do {
    --end;
  } while ((static_cast<unsigned char>(text[end]) & 0xC0) == 0x80);
  return end;
}

bool IsWordBefore(std::string_view text, size_t at) {
  return at > 0 && IsUnicodeWord(Utf8CodePoint(text, PreviousCharacter(text, at)));
}

bool IsWordAt(std::string_view text, size_t at) {
  return at < text.size() && IsUnicodeWord(Utf8CodePoint(text, at));
}

size_t SkipSpaceLeft(std::string_view text, size_t at, size_t limit) {
  while (at > limit) {
    const size_t previous = PreviousCharacter(text, at);
    if (!IsUnicodeSpace(Utf8CodePoint(text, previous))) break;
    at = previous;
  }
  return at;
}

size_t SkipSpaceRight(std::string_view text, size_t at) {
  while (at < text.size() && IsUnicodeSpace(Utf8CodePoint(text, at))) {
    at += Utf8Length(static_cast<unsigned char>(text[at]));
  }
  return at;
}

}  // namespace

absl::Status AddedTokens::AddList(const JsonNode& list, int64_t first_free) {
  if (!list.present()) return absl::OkStatus();
  FT_RETURN_IF_ERROR(list.IsArray());
  for (size_t i = 0; i < list.size(); ++i) {
    FT_ASSIGN_OR_RETURN(AddedToken token, ReadFlags(list[i]));
    FT_ASSIGN_OR_RETURN(const int64_t id, list[i]["id"].Int(0, UINT32_MAX));
    FT_RETURN_IF_ERROR(Add(list[i], std::move(token), id, &first_free));
    listed_.insert(id);
  }
  return absl::OkStatus();
}

absl::Status AddedTokens::AddDecoder(const JsonNode& decoder, int64_t first_free) {
  if (!decoder.present()) return absl::OkStatus();
  FT_RETURN_IF_ERROR(decoder.IsObject());
  std::map<int64_t, JsonNode> by_id;
  for (const auto& [key, value] : decoder.value().items()) {
    const JsonNode node(&value, absl::StrCat(decoder.path(), "['", Printable(key), "']"));
    int64_t id = 0;
    if (!absl::SimpleAtoi(key, &id) || id < 0) return node.Error("the key is no id");
    if (!by_id.emplace(id, node).second) return node.Error("an id that stands twice");
  }
  int64_t next = NextFree(first_free);
  for (const auto& [id, node] : by_id) {
    FT_ASSIGN_OR_RETURN(AddedToken token, ReadFlags(node));
    FT_RETURN_IF_ERROR(Add(node, std::move(token), id, &next));
  }
  return absl::OkStatus();
}

int64_t AddedTokens::NextFree(int64_t first_free) const {
  int64_t next = first_free;
  for (const AddedToken& token : tokens_) next = std::max<int64_t>(next, token.id + 1);
  return next;
}

absl::Status AddedTokens::AddFile(const JsonNode& file, const std::set<std::string>& special,
                                  int64_t first_free) {
  if (!file.present()) return absl::OkStatus();
  FT_RETURN_IF_ERROR(file.IsObject());
  std::map<int64_t, std::pair<std::string, JsonNode>> by_id;
  for (const auto& [content, value] : file.value().items()) {
    const JsonNode node(&value, absl::StrCat(file.path(), "['", Printable(content), "']"));
    FT_ASSIGN_OR_RETURN(const int64_t id, node.Int(0, UINT32_MAX));
    if (!by_id.emplace(id, std::pair(content, node)).second) {
      return node.Error("an id that stands twice");
    }
  }
  int64_t next = NextFree(first_free);
  for (const auto& [id, entry] : by_id) {
    if (listed_.contains(id)) continue;
    AddedToken token;
    token.content = entry.first;
    token.special = special.contains(token.content);
    token.normalized = !token.special;
    FT_RETURN_IF_ERROR(Add(entry.second, std::move(token), id, &next));
  }
  return absl::OkStatus();
}

absl::Status AddedTokens::AddSpecial(const JsonNode& node, bool named, int64_t first_free) {
  AddedToken token;
  if (node.value().is_object()) {
    FT_ASSIGN_OR_RETURN(token, ReadFlags(node, named));
  } else {
    FT_ASSIGN_OR_RETURN(token.content, node.String());
    token.special = true;
  }
  if (token.content.empty()) return absl::OkStatus();  // none is meant
  const auto known = by_content_.find(token.content);
  if (known != by_content_.end()) {
    tokens_[known->second].special |= named;
    return absl::OkStatus();
  }
  int64_t next = NextFree(first_free);
  return Add(node, std::move(token), std::nullopt, &next);
}

absl::Status AddedTokens::Add(const JsonNode& node, AddedToken token,
                              std::optional<int64_t> written, int64_t* next) {
  if (token.content.empty()) return node.Error("an empty token");
  const auto [known, is_new] = by_content_.emplace(token.content, tokens_.size());
  const size_t at = known->second;
  if (is_new) {
    const int32_t in_model = vocabulary_->Find(token.content);
    const int64_t id = in_model >= 0 ? in_model : (*next)++;
    if (id > kMaxId) return node.Error(absl::StrCat("its id, ", id, ", is beyond ", kMaxId));
    token.id = static_cast<int32_t>(id);
    const std::string* spelling = vocabulary_->Token(token.id);
    if (const AddedToken* other = FindId(token.id)) spelling = &other->content;
    if (spelling != nullptr && *spelling != token.content) {
      shared_.push_back({node.path(), *spelling, token.content, token.id});
    }
    by_id_[token.id] = at;
    tokens_.push_back(std::move(token));
  } else {
    token.id = tokens_[at].id;
    if (!(token == tokens_[at])) reflagged_.push_back({node.path(), at, written.value_or(-1)});
    tokens_[at] = std::move(token);
  }
  if (written && tokens_[at].id != *written) {
    renumbered_.push_back({node.path(), at, *written});
    int64_t& greatest = written_[tokens_[at].id];
    greatest = std::max(greatest, *written);
  }
  return absl::OkStatus();
}

absl::Status AddedTokens::Index(const Normalizer& normalizer, bool raw) {
  std::vector<std::pair<std::string, int32_t>> patterns[2];
  RegexScratch scratch;
  size_t bytes = 0;
  for (size_t i = 0; i < tokens_.size(); ++i) {
    std::string text = tokens_[i].content;
    if (raw) tokens_[i].normalized = false;
    if (tokens_[i].normalized) {
      FT_ASSIGN_OR_RETURN(text, normalizer.Apply(text, &scratch));
      if (text.size() > kMaxSpelledBytes - bytes) {
        return absl::InvalidArgumentError(absl::StrCat(
            "the added tokens, normalized, are more than ", kMaxSpelledBytes, " bytes"));
      }
      bytes += text.size();
    }
    tokens_[i].spelling = text;
    patterns[tokens_[i].normalized].emplace_back(text, static_cast<int32_t>(i));
  }
  for (const int normalized : {0, 1}) {
    patterns_[normalized] = PieceTrie(std::move(patterns[normalized]));
  }
  return absl::OkStatus();
}

void AddedTokens::Split(std::string_view text, bool normalized, std::vector<Section>* out) const {
  out->clear();
  const PieceTrie& patterns = patterns_[normalized];
  size_t done = 0;
  for (size_t at = 0; (at = patterns.NextStart(text, at)) < text.size();) {
    const PieceTrie::Match match = patterns.LongestAt(text, at);
    if (match.length == 0) {
      ++at;
      continue;
    }
    size_t begin = at, end = at + match.length;
    at = end;  // also behind a match that is not taken
    const AddedToken& token = tokens_[static_cast<size_t>(match.value)];
    if (token.single_word && (IsWordBefore(text, begin) || IsWordAt(text, end))) continue;
    if (token.lstrip) begin = std::max(SkipSpaceLeft(text, begin, 0), done);
    if (token.rstrip) end = SkipSpaceRight(text, end);
    if (begin >= end) continue;  // of white space alone, which an rstrip token has taken
    if (done < begin) out->push_back({done, begin, -1});
    out->push_back({begin, end, token.id});
    done = end;
  }
  if (done < text.size()) out->push_back({done, text.size(), -1});
}

const AddedToken* AddedTokens::FindId(int32_t id) const {
  const auto it = by_id_.find(id);
  return it == by_id_.end() ? nullptr : &tokens_[it->second];
}

const AddedToken* AddedTokens::FindContent(std::string_view content) const {
  const auto it = by_content_.find(absl::string_view(content.data(), content.size()));
  return it == by_content_.end() ? nullptr : &tokens_[it->second];
}

}  // namespace fttrain
