#include "data/chat/jinja/lexer.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "data/chat/jinja/text.h"
#include "data/text/unicode.h"

namespace fttrain::jinja {
namespace {

[[noreturn]] void Fail(const std::string& message, int line) {
  throw Error(ErrorKind::kSyntax, message, line);
}

bool IsDigitChar(char c) { return c >= '0' && c <= '9'; }
bool IsNameChar(std::string_view text, size_t i) {
  const char c = text[i];
  if ((c & 0x80) != 0) return IsUnicodeWord(Utf8CodePoint(text, i));
  return IsDigitChar(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

class Lexer {
 public:
  explicit Lexer(std::string source) : source_(std::move(source)), text_(source_) {}

  std::vector<Token> Run() {
    while (at_ < text_.size()) Data();
    Add(TokenKind::kEnd, "");
    return std::move(tokens_);
  }

 private:
  void Add(TokenKind kind, std::string text, Value value = {}) {
    tokens_.push_back({kind, line_, std::move(text), std::move(value)});
  }

  // Moves on by `length` bytes and counts their lines. What was read last ends a line or not.
  void Advance(size_t length) {
    const std::string_view part = text_.substr(at_, length);
    line_ += static_cast<int>(std::count(part.begin(), part.end(), '\n'));
    if (length > 0) line_starting_ = part.back() == '\n';
    at_ += length;
  }

  bool At(size_t i, std::string_view what) const { return text_.substr(i).starts_with(what); }
  size_t SkipSpace(size_t i) const {
    while (i < text_.size() && IsSpace(Utf8CodePoint(text_, i))) {
      i += Utf8Length(static_cast<unsigned char>(text_[i]));
    }
    return i;
  }

  // Where a tag's end at `i` ends itself, with the white space it swallows; npos if there is none.
  // `close` is "%}" or "#}"; such a tag also swallows one newline.
  size_t TagEnd(size_t i, std::string_view close, bool trims_newline, bool plus) const {
    if (plus && At(i, "+") && At(i + 1, close)) return i + 1 + close.size();
    if (At(i, "-") && At(i + 1, close)) return SkipSpace(i + 1 + close.size());
    if (!At(i, close)) return std::string_view::npos;
    i += close.size();
    return trims_newline && At(i, "\n") ? i + 1 : i;
  }

  // Where "{% raw %}" at `i` ends; npos if it is something else.
  size_t RawBegin(size_t i) const {
    if (!At(i, "{%")) return std::string_view::npos;
    i += 2;
    if (At(i, "-") || At(i, "+")) ++i;
    i = SkipSpace(i);
    if (!At(i, "raw")) return std::string_view::npos;
    return TagEnd(SkipSpace(i + 3), "%}", false, false);
  }

  // Text up to a tag that begins at `tag`, with what the tag's sign takes from it.
  std::string Stripped(size_t tag, bool variable) const {
    const std::string_view text = text_.substr(at_, tag - at_);
    const char sign = tag + 2 < text_.size() ? text_[tag + 2] : '\0';
    if (sign == '-') return std::string(Strip(text, nullptr, false, true));
    if (sign != '+' && !variable) {
      const size_t newline = text.rfind('\n');
      const size_t begin = newline == std::string_view::npos ? 0 : newline + 1;
      const bool starts = newline != std::string_view::npos || line_starting_;
      const std::string_view last = text.substr(begin);
      if (starts && Strip(last, nullptr, true, false).empty()) {
        return std::string(text.substr(0, begin));
      }
    }
    return std::string(text);
  }

  void Data() {
    size_t tag = at_;
    while (true) {
      tag = text_.find('{', tag);
      if (tag == std::string_view::npos) {
        Add(TokenKind::kData, std::string(text_.substr(at_)));
        Advance(text_.size() - at_);
        return;
      }
      if (At(tag, "{{") || At(tag, "{%") || At(tag, "{#")) break;
      ++tag;
    }
    const char kind = text_[tag + 1];
    const std::string data = Stripped(tag, kind == '{');
    if (!data.empty()) Add(TokenKind::kData, data);
    const size_t raw = RawBegin(tag);
    Advance(tag - at_);
    if (raw != std::string_view::npos) return Raw(raw);
    const bool sign = At(at_ + 2, "-") || At(at_ + 2, "+");
    if (kind == '#') return Comment(sign ? 3 : 2);
    Add(kind == '{' ? TokenKind::kVariableBegin : TokenKind::kBlockBegin, "");
    Advance(sign ? 3 : 2);
    Code(kind == '{' ? "}}" : "%}");
  }

  void Comment(size_t begin) {
    Advance(begin);
    for (size_t i = at_; i < text_.size(); ++i) {
      const size_t end = TagEnd(i, "#}", true, true);
      if (end != std::string_view::npos) return Advance(end - at_);
    }
    if (at_ < text_.size()) Fail("Missing end of comment tag", line_);
  }

  void Raw(size_t begin) {
    Advance(begin - at_);
    for (size_t tag = text_.find("{%", at_); tag != std::string_view::npos;
         tag = text_.find("{%", tag + 1)) {
      size_t i = tag + 2;
      if (At(i, "-") || At(i, "+")) ++i;
      i = SkipSpace(i);
      if (!At(i, "endraw")) continue;
      const size_t end = TagEnd(SkipSpace(i + 6), "%}", true, true);
      if (end == std::string_view::npos) continue;
      const std::string data = Stripped(tag, false);
      if (!data.empty()) Add(TokenKind::kData, data);
      return Advance(end - at_);
    }
    if (at_ < text_.size()) Fail("Missing end of raw directive", line_);
  }

  void Code(std::string_view close) {
    const bool block = close == "%}";
    std::string open;  // the brackets to be closed
    while (at_ < text_.size()) {
      if (open.empty()) {
        const size_t end = TagEnd(at_, close, block, block);
        if (end != std::string_view::npos) {
          Add(block ? TokenKind::kBlockEnd : TokenKind::kVariableEnd, "");
          return Advance(end - at_);
        }
      }
      const size_t space = SkipSpace(at_);
      if (space > at_) {
        Advance(space - at_);
        continue;
      }
      if (Number() || Name() || StringLiteral()) continue;
      OperatorToken(&open);
    }
  }

  // Digits with single underscores between them, as `is` says; the end.
  template <typename Is>
  size_t Digits(size_t i, Is is) const {
    const auto digit = [&](size_t at) { return at < text_.size() && is(text_[at]); };
    while (digit(i) || (At(i, "_") && digit(i + 1))) ++i;
    return i;
  }

  bool Number() {
    if (!IsDigitChar(text_[at_])) return false;
    const size_t whole = Digits(at_, IsDigitChar);
    size_t end = whole;
    if (At(end, ".") && end + 1 < text_.size() && IsDigitChar(text_[end + 1])) {
      end = Digits(end + 1, IsDigitChar);
    }
    if (end < text_.size() && (text_[end] == 'e' || text_[end] == 'E')) {
      size_t power = end + 1;
      if (At(power, "+") || At(power, "-")) ++power;
      if (power < text_.size() && IsDigitChar(text_[power])) end = Digits(power, IsDigitChar);
    }
    if (end > whole && !(at_ > 0 && text_[at_ - 1] == '.')) {
      const std::string digits =
          absl::StrReplaceAll(std::string(text_.substr(at_, end - at_)), {{"_", ""}});
      Add(TokenKind::kFloat, "", Value::Float(std::strtod(digits.c_str(), nullptr)));
      Advance(end - at_);
      return true;
    }
    return Integer(whole);
  }

  bool Integer(size_t end) {
    int base = 10;
    if (text_[at_] == '0' && at_ + 2 < text_.size()) {
      const char letter = static_cast<char>(text_[at_ + 1] | 0x20);
      base = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 10;
      const auto is = [base](char c) {
        const char low = static_cast<char>(c | 0x20);
        return base == 16 ? IsDigitChar(c) || (low >= 'a' && low <= 'f')
                          : c >= '0' && c < static_cast<char>('0' + base);
      };
      const size_t digits = base == 10 ? at_ : Digits(at_ + 2, is);
      if (base != 10 && digits > at_ + 2) {
        end = digits;
      } else {
        base = 10;
      }
    }
    if (base == 10 && text_[at_] == '0') {  // 007 is 00 and 7
      end = Digits(at_, [](char c) { return c == '0'; });
    }
    const size_t mark = base == 10 ? 0 : 2;
    const std::string digits =
        absl::StrReplaceAll(std::string(text_.substr(at_ + mark, end - at_ - mark)), {{"_", ""}});
    int64_t value = 0;
    const auto parsed = std::from_chars(digits.data(), digits.data() + digits.size(), value, base);
    if (parsed.ec != std::errc()) {
      throw Error(ErrorKind::kUnsupported, "integers beyond 64 bits are not supported", line_);
    }
    Add(TokenKind::kInteger, digits, Value::Int(value));
    Advance(end - at_);
    return true;
  }

  bool Name() {
    size_t end = at_;
    while (end < text_.size() && IsNameChar(text_, end)) {
      end += Utf8Length(static_cast<unsigned char>(text_[end]));
    }
    if (end == at_) return false;
    const std::string name(text_.substr(at_, end - at_));
    if (!IsIdentifier(name)) Fail("Invalid character in identifier", line_);
    Add(TokenKind::kName, name);
    Advance(end - at_);
    return true;
  }

  bool StringLiteral() {
    const char quote = text_[at_];
    if (quote != '\'' && quote != '"') return false;
    size_t end = at_ + 1;
    while (end < text_.size() && text_[end] != quote) end += text_[end] == '\\' ? 2 : 1;
    if (end >= text_.size()) return false;
    const std::string value = Unescaped(text_.substr(at_, end + 1 - at_), line_);
    Add(TokenKind::kString, "", Value::String(value));
    Advance(end + 1 - at_);
    return true;
  }

  void OperatorToken(std::string* open) {
    static constexpr std::string_view kOperators[] = {
        "//", "**", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[",
        "]",  "(",  ")",  "{",  "}",  ">",  "<", "=", ".", ":", "|", ",", ";"};
    const auto* found = std::find_if(std::begin(kOperators), std::end(kOperators),
                                     [&](std::string_view op) { return At(at_, op); });
    if (found == std::end(kOperators)) {
      const size_t length = Utf8Length(static_cast<unsigned char>(text_[at_]));
      Fail(absl::StrCat("unexpected char ", Quoted(text_.substr(at_, length)), " at ",
                        LengthOf(text_.substr(0, at_))),
           line_);
    }
    const char c = (*found)[0];
    if (c == '(' || c == '[' || c == '{') {
      *open += c == '(' ? ')' : c == '[' ? ']' : '}';
    } else if (c == ')' || c == ']' || c == '}') {
      if (open->empty() || open->back() != c) {
        const std::string expected =
            open->empty() ? "" : absl::StrCat(", expected '", open->substr(open->size() - 1), "'");
        Fail(absl::StrCat("unexpected '", std::string(*found), "'", expected), line_);
      }
      open->pop_back();
    }
    Add(TokenKind::kOperator, std::string(*found));
    Advance(found->size());
  }

  const std::string source_;
  const std::string_view text_;
  size_t at_ = 0;
  int line_ = 1;
  bool line_starting_ = true;
  std::vector<Token> tokens_;
};

}  // namespace

std::vector<Token> Tokenize(std::string_view source) {
  if (source.size() > kMaxSource) throw Error(ErrorKind::kLimit, "the template is too long");
  std::string lines = absl::StrReplaceAll(std::string(source), {{"\r\n", "\n"}, {"\r", "\n"}});
  if (!lines.empty() && lines.back() == '\n') lines.pop_back();
  return Lexer(std::move(lines)).Run();
}

}  // namespace fttrain::jinja
