#include "data/chat/taught_tokens.h"

#include <optional>

namespace fttrain {

std::vector<TaughtToken> TaughtTokens(const ExampleList& examples, const Tokenizer& tokenizer,
                                      std::string_view end_of_turn) {
  const int32_t size = tokenizer.MaxId() + 1;
  auto [there, learnt] = examples.Use();
  there.resize(static_cast<size_t>(size));  // ready-made tokens may have more
  learnt.resize(static_cast<size_t>(size));
  const std::optional<int32_t> eos = tokenizer.EosId();
  const auto turn = end_of_turn.empty() ? std::nullopt : tokenizer.TokenToId(end_of_turn);
  std::vector<TaughtToken> taught;
  for (int32_t id = 0; id < size; ++id) {
    const bool ends = (id == turn && there[id]) || (id == eos && learnt[id]);
    if (!ends && !(learnt[id] && tokenizer.IsAddedToken(id))) continue;
    taught.push_back({id, tokenizer.IdToToken(id), ends, learnt[id]});
  }
  return taught;
}

}  // namespace fttrain
