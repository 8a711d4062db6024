// Writing JSON, for sources whose rows are none.
#pragma once

#include <string>
#include <string_view>

namespace fttrain {

// `text`, quoted and escaped. What is not UTF-8 stays so, for readers to find.
inline void AppendJsonString(std::string_view text, std::string* out) {
  constexpr char kDigits[] = "0123456789abcdef";
  *out += '"';
  for (size_t begin = 0; begin <= text.size();) {
    size_t end = begin;
    while (end < text.size() && static_cast<unsigned char>(text[end]) >= ' ' && text[end] != '"' &&
           text[end] != '\\') {
      ++end;
    }
    out->append(text, begin, end - begin);
    if (end == text.size()) break;
    const auto c = static_cast<unsigned char>(text[end]);
    if (c >= ' ') {
      *out += '\\';
      *out += text[end];
    } else {
      *out += "\\u00";
      *out += kDigits[c >> 4];
      *out += kDigits[c & 15];
    }
    begin = end + 1;
  }
  *out += '"';
}

}  // namespace fttrain
