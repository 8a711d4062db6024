#include "data/chat/jinja/text.h"

#include <unicode/locid.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "data/text/unicode.h"

namespace fttrain::jinja {
namespace {

UChar32 Icu(char32_t c) { return static_cast<UChar32>(c); }

bool IsAscii(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

icu::UnicodeString ToIcu(std::string_view text) {
  return icu::UnicodeString::fromUTF8(
      icu::StringPiece(text.data(), static_cast<int32_t>(text.size())));
}
std::string FromIcu(const icu::UnicodeString& text) {
  std::string out;
  text.toUTF8String(out);
  return out;
}

// The title case of one character.
std::string TitleOf(std::string_view character) {
  const auto c = Icu(Utf8CodePoint(character, 0));
  if (c < 0x80) return Upper(character);
  if (u_hasBinaryProperty(c, UCHAR_CHANGES_WHEN_TITLECASED) == 0) return std::string(character);
  return FromIcu(ToIcu(character).toTitle(nullptr, icu::Locale::getRoot()));
}

bool IsCased(char32_t c) { return u_hasBinaryProperty(Icu(c), UCHAR_CASED) != 0; }

bool IsLineEnd(char32_t c) {
  return (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 ||
         c == 0x2029;
}

std::string Hex(const char* form, char32_t c) {
  char out[16];
  std::snprintf(out, sizeof out, form, static_cast<unsigned>(c));
  return out;
}

}  // namespace

size_t LengthOf(std::string_view text) {
  return static_cast<size_t>(
      std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xC0) != 0x80; }));
}

size_t ByteOffset(std::string_view text, size_t n) {
  size_t i = 0;
  for (; n > 0 && i < text.size(); --n) i += Utf8Length(static_cast<unsigned char>(text[i]));
  return std::min(i, text.size());
}

std::u32string CodePoints(std::string_view text) {
  std::u32string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); i += Utf8Length(static_cast<unsigned char>(text[i]))) {
    out.push_back(Utf8CodePoint(text, i));
  }
  return out;
}

std::string Utf8(std::u32string_view text) {
  std::string out;
  out.reserve(text.size());
  for (const char32_t c : text) AppendUtf8(c, &out);
  return out;
}

bool IsSpace(char32_t c) { return (c >= 0x1C && c <= 0x1F) || IsUnicodeSpace(c); }

bool IsPrintable(char32_t c) {
  if (c == ' ') return true;
  const uint32_t hidden = U_GC_C_MASK | U_GC_Z_MASK;
  return (U_MASK(u_charType(Icu(c))) & hidden) == 0;
}

bool IsAlpha(char32_t c) { return (U_MASK(u_charType(Icu(c))) & U_GC_L_MASK) != 0; }
bool IsDecimal(char32_t c) { return u_charType(Icu(c)) == U_DECIMAL_DIGIT_NUMBER; }
bool IsDigit(char32_t c) {
  const int type = u_getIntPropertyValue(Icu(c), UCHAR_NUMERIC_TYPE);
  return type == U_NT_DECIMAL || type == U_NT_DIGIT;
}
bool IsNumeric(char32_t c) {
  return u_getIntPropertyValue(Icu(c), UCHAR_NUMERIC_TYPE) != U_NT_NONE;
}
bool IsUpper(char32_t c) { return u_hasBinaryProperty(Icu(c), UCHAR_UPPERCASE) != 0; }
bool IsLower(char32_t c) { return u_hasBinaryProperty(Icu(c), UCHAR_LOWERCASE) != 0; }
bool IsTitle(char32_t c) { return u_charType(Icu(c)) == U_TITLECASE_LETTER; }

bool IsIdentifier(std::string_view text) {
  bool first = true;
  for (const char32_t c : CodePoints(text)) {
    const UProperty property = first ? UCHAR_XID_START : UCHAR_XID_CONTINUE;
    if (c != '_' && u_hasBinaryProperty(Icu(c), property) == 0) return false;
    first = false;
  }
  return !first;
}

std::string Lower(std::string_view text) {
  if (!IsAscii(text)) return FromIcu(ToIcu(text).toLower(icu::Locale::getRoot()));
  std::string out(text);
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c;
  return out;
}

std::string Upper(std::string_view text) {
  if (!IsAscii(text)) return FromIcu(ToIcu(text).toUpper(icu::Locale::getRoot()));
  std::string out(text);
  for (char& c : out) c = c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c;
  return out;
}

std::string Casefold(std::string_view text) { return FromIcu(ToIcu(text).foldCase()); }

namespace {

std::string OneOf(char32_t c) { return Utf8(std::u32string_view(&c, 1)); }

// The lower case of a character where it stands: a capital sigma at the end of a word has its own.
std::string LowerAt(const std::u32string& text, size_t i) {
  if (text[i] != 0x3A3) return Lower(OneOf(text[i]));
  const auto ignorable = [&](size_t at) {
    return u_hasBinaryProperty(Icu(text[at]), UCHAR_CASE_IGNORABLE) != 0;
  };
  size_t before = i, after = i + 1;
  while (before > 0 && ignorable(before - 1)) --before;
  while (after < text.size() && ignorable(after)) ++after;
  const bool last =
      before > 0 && IsCased(text[before - 1]) && (after == text.size() || !IsCased(text[after]));
  return OneOf(last ? 0x3C2 : 0x3C3);
}

}  // namespace

std::string Capitalize(std::string_view text) {
  const std::u32string points = CodePoints(text);
  std::string out;
  for (size_t i = 0; i < points.size(); ++i) {
    out += i == 0 ? TitleOf(OneOf(points[i])) : LowerAt(points, i);
  }
  return out;
}

std::string Title(std::string_view text) {
  const std::u32string points = CodePoints(text);
  std::string out;
  bool inside = false;  // of a word
  for (size_t i = 0; i < points.size(); ++i) {
    out += inside ? LowerAt(points, i) : TitleOf(OneOf(points[i]));
    inside = IsCased(points[i]);
  }
  return out;
}

std::string SwapCase(std::string_view text) {
  const std::u32string points = CodePoints(text);
  std::string out;
  for (size_t i = 0; i < points.size(); ++i) {
    const char32_t c = points[i];
    out += IsUpper(c) ? LowerAt(points, i) : IsLower(c) ? Upper(OneOf(c)) : OneOf(c);
  }
  return out;
}

std::string_view Strip(std::string_view text, const std::string* chars, bool left, bool right) {
  const std::u32string set = chars == nullptr ? U"" : CodePoints(*chars);
  const auto drops = [&](char32_t c) {
    return chars == nullptr ? IsSpace(c) : set.find(c) != std::u32string::npos;
  };
  size_t begin = 0, end = text.size();
  while (left && begin < end && drops(Utf8CodePoint(text, begin))) {
    begin += Utf8Length(static_cast<unsigned char>(text[begin]));
  }
  while (right && end > begin) {
    size_t last = end - 1;
    while (last > begin && (text[last] & 0xC0) == 0x80) --last;
    if (!drops(Utf8CodePoint(text, last))) break;
    end = last;
  }
  return text.substr(begin, end - begin);
}

void ForEachLine(std::string_view text, bool keep_ends,
                 const std::function<void(std::string_view)>& line) {
  for (size_t begin = 0; begin < text.size();) {
    size_t end = begin;
    while (end < text.size() && !IsLineEnd(Utf8CodePoint(text, end))) {
      end += Utf8Length(static_cast<unsigned char>(text[end]));
    }
    size_t next = end;
    if (end < text.size()) {
      const bool pair = text[end] == '\r' && end + 1 < text.size() && text[end + 1] == '\n';
      next = end + (pair ? 2 : Utf8Length(static_cast<unsigned char>(text[end])));
    }
    line(text.substr(begin, (keep_ends ? next : end) - begin));
    begin = next;
  }
}

std::string Quoted(std::string_view text, bool ascii) {
  const bool doubled =
      text.find('\'') != std::string_view::npos && text.find('"') == std::string_view::npos;
  const char32_t quote = doubled ? '"' : '\'';
  std::string out(1, static_cast<char>(quote));
  for (const char32_t c : CodePoints(text)) {
    if (c == quote || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c == '\n') {
      out += "\\n";
    } else if (c == '\r') {
      out += "\\r";
    } else if (c == '\t') {
      out += "\\t";
    } else if (IsPrintable(c) && (!ascii || c < 0x80)) {
      AppendUtf8(c, &out);
    } else {
      out += Hex(c < 0x100 ? "\\x%02x" : c < 0x10000 ? "\\u%04x" : "\\U%08x", c);
    }
  }
  return out + static_cast<char>(quote);
}

std::string RealText(double value) {
  if (std::isnan(value)) return "nan";
  if (std::isinf(value)) return value < 0 ? "-inf" : "inf";
  char shortest[40];
  const auto end =
      std::to_chars(shortest, shortest + sizeof shortest, value, std::chars_format::scientific);
  const std::string text(shortest, end.ptr);
  const size_t e = text.find('e');
  const int exponent = std::stoi(text.substr(e + 1));
  const bool negative = text[0] == '-';
  std::string digits;
  for (const char c : text.substr(0, e)) {
    if (c >= '0' && c <= '9') digits += c;
  }
  std::string out;
  if (exponent < -4 || exponent >= 16) {
    out = digits.substr(0, 1);
    if (digits.size() > 1) out += "." + digits.substr(1);
    out += Hex(exponent < 0 ? "e-%02u" : "e+%02u", static_cast<char32_t>(std::abs(exponent)));
  } else if (exponent < 0) {
    out = "0." + std::string(static_cast<size_t>(-exponent - 1), '0') + digits;
  } else {
    const size_t whole = static_cast<size_t>(exponent) + 1;
    if (digits.size() <= whole) {
      out = digits + std::string(whole - digits.size(), '0') + ".0";
    } else {
      out = digits.substr(0, whole) + "." + digits.substr(whole);
    }
  }
  return negative ? "-" + out : out;
}

}  // namespace fttrain::jinja
