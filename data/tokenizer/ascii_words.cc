#include "data/tokenizer/ascii_words.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <iterator>

namespace fttrain {
namespace {

enum class Kind : uint8_t {
  kLiteral,   // the pattern's own text, which begins with a quote
  kAnyShort,  // these in any case
  kSpaceLetters,
  kSpaceDigits,
  kSpaceOthers,
  kSpaceOthersLines,
  kSpaceOthersLinesSlash,
  kWord,
  kLowerWord,
  kUpperWord,
  kLowerWordShort,
  kUpperWordShort,
  kDigit,
  kThreeDigits,
  kLines,
  kSpacesBefore,
  kSpaces,
};

}  // namespace

struct AsciiWords::Alternative {
  std::string_view pattern;
  Kind kind;
};

namespace {

using enum Kind;

// GPT-2, GPT-4 and Llama 3, Qwen 2 and 3, GPT-4o and gpt-oss, Mistral's tekken.
constexpr AsciiWords::Alternative kKnown[] = {
    {"'s", kLiteral},
    {"'t", kLiteral},
    {"'re", kLiteral},
    {"'ve", kLiteral},
    {"'m", kLiteral},
    {"'ll", kLiteral},
    {"'d", kLiteral},
    {"(?i:'s|'t|'re|'ve|'m|'ll|'d)", kAnyShort},
    {R"( ?\p{L}+)", kSpaceLetters},
    {R"( ?\p{N}+)", kSpaceDigits},
    {R"( ?[^\s\p{L}\p{N}]+)", kSpaceOthers},
    {R"( ?[^\s\p{L}\p{N}]+[\r\n]*)", kSpaceOthersLines},
    {R"( ?[^\s\p{L}\p{N}]+[\r\n/]*)", kSpaceOthersLinesSlash},
    {R"([^\r\n\p{L}\p{N}]?\p{L}+)", kWord},
    {R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)", kLowerWord},
    {R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)", kUpperWord},
    {R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+)"
     "(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
     kLowerWordShort},
    {R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*)"
     "(?i:'s|'t|'re|'ve|'m|'ll|'d)?",
     kUpperWordShort},
    {R"(\p{N})", kDigit},
    {R"(\p{N}{1,3})", kThreeDigits},
    {R"(\s*[\r\n]+)", kLines},
    {R"(\s+(?!\S))", kSpacesBefore},
    {R"(\s+)", kSpaces},
};

// What a byte is. kOther: ASCII that is none of the others; kBeyond: no ASCII.
enum : uint8_t {
  kUpper = 1,
  kLower = 2,
  kNumber = 4,
  kSpace = 8,     // but line ends
  kLineEnd = 16,  // \r and \n
  kSlash = 32,
  kOther = 64,
  kBeyond = 128
};
constexpr uint8_t kLetters = kUpper | kLower, kWhite = kSpace | kLineEnd, kOthers = kSlash | kOther;

constexpr std::array<uint8_t, 256> MakeClasses() {
  std::array<uint8_t, 256> classes = {};
  for (size_t c = 0; c < 256; ++c) {
    classes[c] = c >= 0x80                              ? kBeyond
                 : c >= 'A' && c <= 'Z'                 ? kUpper
                 : c >= 'a' && c <= 'z'                 ? kLower
                 : c >= '0' && c <= '9'                 ? kNumber
                 : c == '\n' || c == '\r'               ? kLineEnd
                 : c == ' ' || (c >= '\t' && c <= '\r') ? kSpace
                 : c == '/'                             ? kSlash
                                                        : kOther;
  }
  return classes;
}
constexpr std::array<uint8_t, 256> kClasses = MakeClasses();

// How far one alternative gets. All that it looks at must be ASCII; else it gives up.
class Attempt {
 public:
  Attempt(std::string_view text, size_t at) : text_(text), begin_(at), at_(at) {}

  bool gave_up() const { return gave_up_; }
  size_t end() const { return at_; }

  bool Matches(const AsciiWords::Alternative& alternative) {
    switch (alternative.kind) {
      case kLiteral:
        return Literal(alternative.pattern);
      case kAnyShort:
        return Short();
      case kSpaceLetters:
        return Space() && Run(kLetters);
      case kSpaceDigits:
        return Space() && Run(kNumber);
      case kSpaceOthers:
        return Space() && Run(kOthers);
      case kSpaceOthersLines:
        return Space() && Run(kOthers) && Rest(kLineEnd);
      case kSpaceOthersLinesSlash:
        return Space() && Run(kOthers) && Rest(kLineEnd | kSlash);
      case kWord:
        return BeforeWord() && Run(kLetters);
      case kLowerWord:
        return LowerWord();
      case kUpperWord:
        return UpperWord();
      case kLowerWordShort:
        return LowerWord() && (Short() || !gave_up_);
      case kUpperWordShort:
        return UpperWord() && (Short() || !gave_up_);
      case kDigit:
        return Is(kNumber) && Rest(kNumber, 1);
      case kThreeDigits:
        return Is(kNumber) && Rest(kNumber, 3) && (at_ == begin_ + 3 || !IsBeyond());
      case kLines:
        return Lines();
      case kSpacesBefore:
        return SpacesBefore();
      case kSpaces:
        return Run(kWhite);
    }
    return false;
  }

 private:
  uint8_t Class() const {
    return at_ < text_.size() ? kClasses[static_cast<unsigned char>(text_[at_])] : uint8_t{0};
  }
  // Whether what stands here is no ASCII: then there is no telling.
  bool IsBeyond() {
    gave_up_ |= Class() == kBeyond;
    return gave_up_;
  }
  bool Is(int classes) { return !IsBeyond() && (Class() & classes) != 0; }
  // As many of these as there are, perhaps none, whatever follows.
  bool Rest(int classes, size_t most = static_cast<size_t>(-1)) {
    for (; most > 0 && (Class() & classes) != 0; --most) ++at_;
    return true;
  }
  // At least one; what follows is known to be another.
  bool Run(int classes) { return Is(classes) && Rest(classes) && !IsBeyond(); }
  bool Literal(std::string_view word) {
    if (!text_.substr(at_).starts_with(word)) return false;
    at_ += word.size();
    return true;
  }

  // A space, perhaps. Behind it, where it is there, must be what is wanted: a space never is.
  bool Space() {
    if (at_ < text_.size() && text_[at_] == ' ') ++at_;
    return true;
  }
  // What may stand before a word, and is no part of one, likewise.
  bool BeforeWord() {
    if (IsBeyond()) return false;
    if ((Class() & (kSpace | kOthers)) != 0) ++at_;
    return true;
  }
  // Upper and lower case part where one of several categories begins: letters without case are
  // in both, but no ASCII.
  bool LowerWord() { return BeforeWord() && Rest(kUpper) && Run(kLower); }
  bool UpperWord() { return BeforeWord() && Run(kUpper) && Rest(kLower) && !IsBeyond(); }
  // 's, 't, 're, 've, 'm, 'll or 'd in any case. Some letters beyond ASCII are s in another case.
  bool Short() {
    if (!(at_ < text_.size() && text_[at_] == '\'')) return false;
    const auto lower = [&](size_t i) {
      const auto c = at_ + i < text_.size() ? static_cast<unsigned char>(text_[at_ + i]) : '\0';
      gave_up_ |= kClasses[c] == kBeyond;
      return c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : int{c};
    };
    const int first = lower(1);
    size_t length = 0;
    if (first == 's' || first == 't' || first == 'm' || first == 'd') length = 2;
    if ((first == 'r' || first == 'v') && lower(2) == 'e') length = 3;
    if (first == 'l' && lower(2) == 'l') length = 3;
    if (length == 0 || gave_up_) return false;
    at_ += length;
    return true;
  }
  // White space to the last line end in it.
  bool Lines() {
    if (!Run(kWhite)) return false;
    while (at_ > begin_ && (kClasses[static_cast<unsigned char>(text_[at_ - 1])] & kLineEnd) == 0) {
      --at_;
    }
    return at_ > begin_;
  }
  // White space, but for the last where something else follows.
  bool SpacesBefore() {
    if (!Run(kWhite)) return false;
    if (at_ < text_.size()) --at_;
    return at_ > begin_;
  }

  std::string_view text_;
  size_t begin_, at_;
  bool gave_up_ = false;
};

// Parts between the bars that stand in no group and no class.
std::vector<std::string_view> Alternatives(std::string_view pattern) {
  std::vector<std::string_view> out;
  size_t begin = 0;
  int groups = 0;
  bool in_class = false;
  for (size_t i = 0; i < pattern.size(); ++i) {
    const char c = pattern[i];
    if (c == '\\') {
      ++i;
    } else if (in_class || c == '[') {
      in_class = c != ']';
    } else if (c == '(') {
      ++groups;
    } else if (c == ')') {
      --groups;
    } else if (c == '|' && groups == 0) {
      out.push_back(pattern.substr(begin, i - begin));
      begin = i + 1;
    }
  }
  out.push_back(pattern.substr(begin));
  return out;
}

}  // namespace

std::optional<AsciiWords> AsciiWords::Of(std::string_view pattern) {
  AsciiWords words;
  for (const std::string_view part : Alternatives(pattern)) {
    const auto* const known = std::find_if(std::begin(kKnown), std::end(kKnown),
                                           [&](const auto& each) { return each.pattern == part; });
    if (known == std::end(kKnown)) return std::nullopt;
    words.alternatives_.push_back(known);
  }
  return words;
}

size_t AsciiWords::EndOfMatch(std::string_view text, size_t at) const {
  const bool quote = text[at] == '\'';
  for (const Alternative* const alternative : alternatives_) {
    if (!quote && alternative->kind <= kAnyShort) continue;  // these begin with one
    Attempt attempt(text, at);
    if (attempt.Matches(*alternative)) return attempt.end();
    if (attempt.gave_up()) return 0;
  }
  return 0;
}

}  // namespace fttrain
