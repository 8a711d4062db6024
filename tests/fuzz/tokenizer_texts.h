// Texts through a tokenizer, whatever its file says: for the targets that read one.
#pragma once

#include "data/text/unicode.h"
#include "data/tokenizer/tokenizer.h"
#include "runtime/process/check.h"
#include "tests/fuzz/target.h"

namespace fttrain::fuzz {

inline constexpr const char* kTexts[] = {"", "a", "ab abc\n  cba", "<s>a</s> é ß 漢字 👋 '12345",
                                         "\u2581a\ufffd"};

inline void CheckText(const Tokenizer& tokenizer, const std::string& text) {
  for (const bool special : {false, true}) {
    const auto ids = tokenizer.Encode(text, special);
    if (!ids.ok()) continue;  // no unk token, and such
    for (const int32_t id : *ids) {
      FT_CHECK(0 <= id, id);  // a post-processor may name one beyond the vocabulary: CheckIdsFit
      tokenizer.IsAddedToken(id);
      tokenizer.WrittenId(id);
    }
    FT_CHECK(FindInvalidUtf8(tokenizer.Decode(*ids, special)) == std::string::npos, text);
    const std::vector<std::string> halves = {"", text, "ab", ""};
    const auto parts = tokenizer.EncodeSegments(halves, special);
    const auto whole = tokenizer.Encode(text + "ab", special);
    FT_CHECK(parts.ok() == whole.ok(), text);
    if (!parts.ok()) continue;
    FT_CHECK(parts->ids == *whole && parts->ends.size() == halves.size(), text);
    int64_t before = 0;
    for (const int64_t end : parts->ends) {
      FT_CHECK(before <= end, before, " ", end);
      before = end;
    }
    FT_CHECK(before == static_cast<int64_t>(parts->ids.size()), before);
    for (const SharedToken& token : parts->shared) {
      FT_CHECK(0 <= token.index && token.index < before, token.index);
      FT_CHECK(0 <= token.first && token.first < token.last && token.last < 4, token.first);
    }
  }
}

inline void CheckTokenizer(const Tokenizer& it) {
  for (int32_t id = -1; id <= std::min(it.MaxId(), 100); ++id) it.IdToToken(id);
  if (it.EosId()) FT_CHECK(*it.EosId() >= 0 && *it.EosId() <= it.MaxId(), *it.EosId());
  for (const char* text : kTexts) CheckText(it, text);
  NoteTokensBeyond(it, 4);
  it.Decode(std::vector<int32_t>{-1, 0, 1, 2147483647}, false);
}

// How a target ends: with a refusal, or with a tokenizer that does what one must.
inline int Judge(const absl::StatusOr<std::unique_ptr<Tokenizer>>& tokenizer) {
  if (!tokenizer.ok()) return Refused(tokenizer.status());
  ++accepted;
  CheckTokenizer(**tokenizer);
  return 0;
}

}  // namespace fttrain::fuzz
