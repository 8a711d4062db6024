#include "data/chat/taught_tokens.h"

#include <optional>

namespace fttrain {

std::vector<TaughtToken> TaughtTokens(absl::Span<const Example> examples,
                                      const Tokenizer& tokenizer, std::string_view end_of_turn) {
  const int32_t size = tokenizer.MaxId() + 1;
  std::vector<bool> there(size), learnt(size);
  for (const Example& example : examples) {
    for (size_t i = 0; i < example.input_ids.size(); ++i) {
      const int32_t id = example.input_ids[i];
      if (id < 0 || id >= size) continue;  // of ready-made tokens
      there[id] = true;
      if (i > 0 && example.labels[i] != kNoTarget) learnt[id] = true;
    }
  }
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
