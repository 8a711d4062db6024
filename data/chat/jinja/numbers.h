// Numbers as format specifications write them; for format.cc.
#pragma once

#include <cstdint>
#include <string>

#include "data/chat/jinja/run.h"

namespace fttrain::jinja {

struct NumberForm {
  char type = 0;  // d x X o b c, e E f F g G n %; 0: as str()
  int64_t precision = -1;
  bool alternate = false;
};

// Without sign, digits grouped by nothing.
std::string IntegerDigits(int64_t value, const NumberForm& form);
std::string RealDigits(Run& run, double value, const NumberForm& form);
// A separator every `every` digits of the whole part.
std::string Grouped(const std::string& digits, char separator, size_t every);

}  // namespace fttrain::jinja
