// Most rows in one pass. Include in .cc files only (JSON is slow to compile).
#pragma once

#include <string>

#include "data/formats/row_json.h"

namespace fttrain {

// Whether it reads `text`, which is UTF-8 without a NUL: then *out is what ParseRowJson's other way
// makes of it. It does not read a fault, a fraction or exponent, an integer of more than 18 digits,
// an object of more than 32 keys; *out is of no use then.
bool ReadPlainJson(const std::string& text, RowJson* out);

}  // namespace fttrain
