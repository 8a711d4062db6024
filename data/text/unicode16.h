// Characters that Unicode assigned in versions 15 to 16: PCRE2 10.42 knows version 14, ICU 72
// version 15, and the libraries that tokenizers are compared with know 16. No character that was
// there before has another major category since.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace fttrain {

// `category`: one letter or two, as in General_Category.
bool HasCategorySince14(uint32_t code_point, std::string_view category);
// Those of a category as ranges inside a regular expression's brackets; empty if there are none.
std::string ClassSince14(std::string_view category);

}  // namespace fttrain
