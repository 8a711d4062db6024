// An example as people see it: its tokens as text, what of it is learnt, and what does not print
// made visible.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/text/example.h"
#include "data/tokenizer/tokenizer.h"

namespace fttrain {

struct ShownToken {
  std::vector<int32_t> ids;  // several only where they make one character together
  std::string text;          // as VisibleText
  bool learnt = false;
  bool special = false;  // an added token
};

struct ShownExample {
  int64_t number = 0;  // from 1
  std::string source;
  int64_t tokens = 0, learnt = 0;  // within sequence_len
  int64_t cut_tokens = 0;          // behind it, not shown
  std::vector<ShownToken> shown;
};

// `tokenizer` may be null: ids are then all there is. `index` counts from 0.
ShownExample Show(const Example& example, int64_t index, int64_t sequence_len,
                  const Tokenizer* tokenizer);

// Printable whatever the text holds, on a terminal too: newlines stay and have a sign before them;
// control characters become their pictures; spaces and marks without width or of their own
// direction become "<U+200B>".
std::string VisibleText(std::string_view utf8);

}  // namespace fttrain
