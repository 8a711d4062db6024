// The special tokens that a run's examples teach: above all those that end an answer.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/text/example_list.h"
#include "data/tokenizer/tokenizer.h"

namespace fttrain {

struct TaughtToken {
  int32_t id = 0;
  std::string text;
  bool ends = false;   // an answer
  bool learnt = true;  // a target of some example
};

// By id: the tokenizer's added tokens among the examples' targets, and the tokens that end an
// answer: `end_of_turn` (ChatTemplate's; empty: no conversations) if an example has it, learnt or
// not, and the tokenizer's EOS if it is learnt.
std::vector<TaughtToken> TaughtTokens(const ExampleList& examples, const Tokenizer& tokenizer,
                                      std::string_view end_of_turn);

}  // namespace fttrain
