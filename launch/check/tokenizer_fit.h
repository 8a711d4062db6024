// Whether a folder's tokenizer can be the one that its model was trained with.
#pragma once

#include <string>

#include "data/tokenizer/tokenizer.h"
#include "model/config/spec.h"

namespace fttrain {

// What speaks against it, for people; empty: nothing does.
struct TokenizerFit {
  std::string fault;    // so much that training would learn nonsense
  std::string warning;  // what some models have all the same
};

// By how many tokens have no row in the embedding, how many rows have no token, and whether the
// token that config.json ends texts with is one in the tokenizer. Of an embedding of few rows, as
// tests have, only tokens without a row are a fault. Pure.
TokenizerFit FitOf(const Tokenizer& tokenizer, const ModelSpec& model);

}  // namespace fttrain
