#include "launch/report/shown_example.h"

#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/types/span.h"
#include "data/text/unicode.h"

namespace fttrain {
namespace {

constexpr char kNotUtf8[] = "\xEF\xBF\xBD";  // U+FFFD
// A character has at most four bytes, each of which may be a token.
constexpr size_t kMostTokensOfACharacter = 4;

bool IsInvisible(uint32_t c) {
  static constexpr struct {
    uint32_t first, last;
  } kRanges[] = {{0x80, 0xA0},     {0xAD, 0xAD},     {0x61C, 0x61C},   {0x180E, 0x180E},
                 {0x2000, 0x200F}, {0x2028, 0x202F}, {0x205F, 0x206F}, {0x3000, 0x3000},
                 {0xFE00, 0xFE0F}, {0xFEFF, 0xFEFF}, {0xFFF9, 0xFFFB}, {0xE0000, 0xE0FFF}};
  return std::any_of(std::begin(kRanges), std::end(kRanges),
                     [&](const auto& range) { return c >= range.first && c <= range.last; });
}

// What ids[begin, end) add to the text before them: the token in front of them is decoded too,
// since some tokenizers write the first one of a text otherwise.
std::string TextOf(const Tokenizer& tokenizer, absl::Span<const int32_t> ids, size_t begin,
                   size_t end) {
  const size_t from = begin > 0 ? begin - 1 : begin;
  const std::string before = tokenizer.Decode(ids.subspan(from, begin - from), false);
  const std::string all = tokenizer.Decode(ids.subspan(from, end - from), false);
  if (absl::StartsWith(all, before)) return all.substr(before.size());
  return tokenizer.Decode(ids.subspan(begin, end - begin), false);
}

// The end of the tokens from `begin` on that are to be shown as one: of those before `most` that
// make a character together.
size_t EndOfGroup(const Tokenizer& tokenizer, absl::Span<const int32_t> ids, size_t begin,
                  size_t most) {
  if (!absl::EndsWith(TextOf(tokenizer, ids, begin, begin + 1), kNotUtf8)) return begin + 1;
  for (size_t end = begin + 2; end <= std::min(most, begin + kMostTokensOfACharacter); ++end) {
    if (!absl::StrContains(TextOf(tokenizer, ids, begin, end), kNotUtf8)) return end;
  }
  return begin + 1;
}

}  // namespace

std::string VisibleText(std::string_view utf8) {
  const std::string text = ReplaceInvalidUtf8(utf8);
  std::string out;
  for (size_t i = 0; i < text.size(); i += Utf8Length(static_cast<unsigned char>(text[i]))) {
    const uint32_t c = Utf8CodePoint(text, i);
    if (c == '\n') {
      out += "\u21B5\n";
    } else if (c == '\t') {
      out += "\u21E5";
    } else if (c < 0x20) {
      AppendUtf8(0x2400 + c, &out);
    } else if (c == 0x7F) {
      out += "\u2421";
    } else if (IsInvisible(c)) {
      absl::StrAppend(&out, absl::StrFormat("<U+%04X>", c));
    } else {
      AppendUtf8(c, &out);
    }
  }
  return out;
}

ShownExample Show(const Example& example, int64_t index, int64_t sequence_len,
                  const Tokenizer* tokenizer) {
  ShownExample out;
  out.number = index + 1;
  out.source = example.source;
  const auto full = static_cast<int64_t>(example.input_ids.size());
  out.tokens = std::min(full, sequence_len);
  out.cut_tokens = full - out.tokens;
  out.learnt = CountTargets(example, out.tokens);
  const auto count = static_cast<size_t>(out.tokens);
  const absl::Span<const int32_t> ids = absl::MakeSpan(example.input_ids).subspan(0, count);
  const auto learnt = [&](size_t i) { return i > 0 && example.labels[i] != kNoTarget; };
  for (size_t begin = 0, end = 0; begin < count; begin = end) {
    ShownToken token;
    token.learnt = learnt(begin);
    size_t alike = begin;
    while (alike < count && learnt(alike) == token.learnt) ++alike;
    end = tokenizer == nullptr ? begin + 1 : EndOfGroup(*tokenizer, ids, begin, alike);
    token.ids.assign(ids.begin() + begin, ids.begin() + end);
    token.special = tokenizer != nullptr && tokenizer->IsAddedToken(ids[begin]);
    token.text = tokenizer == nullptr ? absl::StrCat(ids[begin], " ")
                                      : VisibleText(TextOf(*tokenizer, ids, begin, end));
    out.shown.push_back(std::move(token));
  }
  return out;
}

}  // namespace fttrain
