// Words of the config as values of the program.
#pragma once

#include <initializer_list>
#include <utility>

#include "configs/schema.h"
#include "runtime/process/check.h"

namespace fttrain {

// The value beside `word`. A word without one is a fault of the program: nothing is the default.
template <typename Word, typename Value>
Value ValueOf(Word word, std::initializer_list<std::pair<Word, Value>> table) {
  for (const auto& [name, value] : table) {
    if (name == word) return value;
  }
  FT_CHECK(false, "no value for the config's word '", config::Word(word), "'");
}

}  // namespace fttrain
