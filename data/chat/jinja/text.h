// Python's str, on UTF-8: code points, case, classes of characters, repr.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace fttrain::jinja {

size_t LengthOf(std::string_view text);  // in code points
// Byte offset of the code point `n`; the text's size where it has no more than n.
size_t ByteOffset(std::string_view text, size_t n);
std::u32string CodePoints(std::string_view text);
std::string Utf8(std::u32string_view text);

bool IsSpace(char32_t c);      // str.isspace, str.strip()
bool IsPrintable(char32_t c);  // what repr writes as it is
bool IsAlpha(char32_t c);
bool IsDecimal(char32_t c);
bool IsDigit(char32_t c);
bool IsNumeric(char32_t c);
bool IsUpper(char32_t c);
bool IsLower(char32_t c);
bool IsTitle(char32_t c);
inline bool IsAlphanumeric(char32_t c) {
  return IsAlpha(c) || IsDecimal(c) || IsDigit(c) || IsNumeric(c);
}
bool IsIdentifier(std::string_view text);

// Full case mappings, as str.lower() and its relatives.
std::string Lower(std::string_view text);
std::string Upper(std::string_view text);
std::string Casefold(std::string_view text);
std::string Capitalize(std::string_view text);
std::string Title(std::string_view text);
std::string SwapCase(std::string_view text);

// `chars` null: white space.
std::string_view Strip(std::string_view text, const std::string* chars, bool left, bool right);
// Without what str.splitlines() calls a line's end, or with it.
void ForEachLine(std::string_view text, bool keep_ends,
                 const std::function<void(std::string_view)>& line);

std::string Quoted(std::string_view text, bool ascii = false);  // repr(), ascii()
std::string RealText(double value);                             // repr() of a float

}  // namespace fttrain::jinja
