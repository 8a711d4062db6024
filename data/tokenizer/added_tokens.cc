#include "data/tokenizer/added_tokens.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "data/text/unicode.h"
#include "data/tokenizer/normalizer.h"
#include "runtime/files/json.h"

namespace fttrain {
namespace {

constexpr int64_t kMaxId = (int64_t{1} << 24) - 1;

absl::StatusOr<AddedToken> ReadFlags(const JsonNode& node) {
  AddedToken token;
  FT_RETURN_IF_ERROR(node.OnlyKeys(
      {"id", "content", "special", "normalized", "lstrip", "rstrip", "single_word", "__type"}));
  FT_ASSIGN_OR_RETURN(token.content, node["content"].String());
  FT_ASSIGN_OR_RETURN(token.special, node["special"].Bool(false));
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

absl::StatusOr<AddedTokens> AddedTokens::Create(const JsonNode& list, const JsonNode& more,
                                                const Vocabulary& vocabulary,
                                                const Normalizer& normalizer) {
  AddedTokens added;
  if (list.present()) {
    FT_RETURN_IF_ERROR(list.IsArray());
    for (size_t i = 0; i < list.size(); ++i) {
      FT_ASSIGN_OR_RETURN(AddedToken token, ReadFlags(list[i]));
      FT_ASSIGN_OR_RETURN(const int64_t id, list[i]["id"].Int(0, kMaxId));
      token.id = static_cast<int32_t>(id);
      FT_RETURN_IF_ERROR(added.Add(list[i], std::move(token), vocabulary));
    }
  }
  if (more.present()) {
    FT_RETURN_IF_ERROR(more.IsObject());
    for (const auto& [key, value] : more.value().items()) {
      const JsonNode node(&value, absl::StrCat(more.path(), "['", Printable(key), "']"));
      int64_t id = 0;
      if (!absl::SimpleAtoi(key, &id) || id < 0 || id > kMaxId)
        return node.Error("the key is no id");
      FT_ASSIGN_OR_RETURN(AddedToken token, ReadFlags(node));
      token.id = static_cast<int32_t>(id);
      const AddedToken* known = added.FindContent(token.content);
      if (known != nullptr && known->id == token.id) continue;
      FT_RETURN_IF_ERROR(added.Add(node, std::move(token), vocabulary));
    }
  }
  FT_RETURN_IF_ERROR(added.Index(normalizer));
  return added;
}

absl::Status AddedTokens::Add(const JsonNode& node, AddedToken token,
                              const Vocabulary& vocabulary) {
  if (token.content.empty()) return node.Error("an empty token");
  const int32_t in_model = vocabulary.Find(token.content);
  const AddedToken* same = FindContent(token.content);
  if ((in_model >= 0 && in_model != token.id) || same != nullptr) {
    return node.Error(absl::StrCat("token '", Printable(token.content), "' has the ids ", token.id,
                                   " and ", same != nullptr ? same->id : in_model));
  }
  const std::string* spelling = vocabulary.Token(token.id);
  if (by_id_.contains(token.id) || (spelling != nullptr && *spelling != token.content)) {
    return node.Error(absl::StrCat("id ", token.id, " has two tokens"));
  }
  by_id_.emplace(token.id, tokens_.size());
  by_content_.emplace(token.content, tokens_.size());
  tokens_.push_back(std::move(token));
  return absl::OkStatus();
}

absl::Status AddedTokens::Index(const Normalizer& normalizer) {
  std::vector<std::pair<std::string, int32_t>> patterns[2];
  RegexScratch scratch;
  for (size_t i = 0; i < tokens_.size(); ++i) {
    std::string text = tokens_[i].content;
    if (tokens_[i].normalized) {
      FT_ASSIGN_OR_RETURN(text, normalizer.Apply(text, &scratch));
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
  size_t done = 0;
  for (size_t at = 0; at < text.size();) {
    const PieceTrie::Match match = patterns_[normalized].LongestAt(text, at);
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
