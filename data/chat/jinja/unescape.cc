#include <algorithm>
#include <charconv>

#include "absl/strings/str_format.h"
#include "data/chat/jinja/lexer.h"
#include "data/text/unicode.h"

namespace fttrain::jinja {
namespace {

[[noreturn]] void Fail(const std::string& message, int line) {
  throw Error(ErrorKind::kSyntax, message, line);
}

// The code point that `digits` hexadecimal digits at `i` say.
uint32_t HexAt(std::string_view text, size_t i, size_t digits, int line) {
  uint32_t value = 0;
  const auto parsed =
      std::from_chars(text.data() + i, text.data() + std::min(i + digits, text.size()), value, 16);
  if (i + digits > text.size() || parsed.ptr != text.data() + i + digits) {
    Fail("truncated escape in a string", line);
  }
  if (value > 0x10FFFF) Fail("illegal Unicode character", line);
  if (value >= 0xD800 && value < 0xE000) {
    throw Error(ErrorKind::kUnsupported, "surrogates in strings are not supported", line);
  }
  return value;
}

}  // namespace

std::string Unescaped(std::string_view literal, int line) {
  static constexpr std::string_view kFrom = "\\'\"abfnrtv", kTo = "\\'\"\a\b\f\n\r\t\v";
  const std::string_view text = literal.substr(1, literal.size() - 2);
  std::string out;
  for (size_t i = 0; i < text.size();) {
    const char c = text[i++];
    if (c != '\\') {
      out += c;
      continue;
    }
    const char escape = text[i++];
    const size_t simple = kFrom.find(escape);
    if (simple != std::string_view::npos) {
      out += kTo[simple];
    } else if (escape == '\n') {  // goes on in the next line
    } else if (escape == 'x' || escape == 'u' || escape == 'U') {
      const size_t digits = escape == 'x' ? 2 : escape == 'u' ? 4 : 8;
      AppendUtf8(HexAt(text, i, digits, line), &out);
      i += digits;
    } else if (escape >= '0' && escape <= '7') {
      uint32_t value = static_cast<uint32_t>(escape - '0');
      for (int n = 0; n < 2 && i < text.size() && text[i] >= '0' && text[i] <= '7'; ++n, ++i) {
        value = value * 8 + static_cast<uint32_t>(text[i] - '0');
      }
      AppendUtf8(value, &out);
    } else if (escape == 'N') {
      throw Error(ErrorKind::kUnsupported, "\\N in strings is not supported", line);
    } else if ((escape & 0x80) != 0) {  // Python writes the character out as an escape
      const uint32_t point = Utf8CodePoint(text, i - 1);
      out += point < 0x100     ? absl::StrFormat("\\x%02x", point)
             : point < 0x10000 ? absl::StrFormat("\\u%04x", point)
                               : absl::StrFormat("\\U%08x", point);
      i += Utf8Length(static_cast<unsigned char>(escape)) - 1;
    } else {  // stays as it is
      out += '\\';
      out += escape;
    }
  }
  return out;
}

}  // namespace fttrain::jinja
