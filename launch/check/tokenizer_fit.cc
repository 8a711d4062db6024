#include "launch/check/tokenizer_fit.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "launch/run/numbers.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

constexpr int64_t kSmallEmbedding = 4096;  // rows; also those that a model has at most to spare

constexpr char kRemedy[] =
    ": it is the tokenizer of another model; take tokenizer.json, tokenizer_config.json and "
    "special_tokens_map.json of this one";

// A few tokens that were added and never trained have none.
bool TooManyTokens(int64_t beyond, int64_t rows) {
  return beyond > std::max<int64_t>(256, rows / 100);
}

// Rows are padded to round numbers, by 2.4 % at most in the models that are used.
bool TooManyRows(int64_t unused, int64_t rows) {
  return unused > kSmallEmbedding && unused > rows / 10;
}

// config.json's ends of texts are tokens, but none that the tokenizer finds in a text.
bool EndsAreNoEnds(const Tokenizer& tokenizer, const ModelSpec& model) {
  const auto is_end = [&](int64_t id) {
    return id > tokenizer.MaxId() || tokenizer.EosId() == id ||
           tokenizer.IsAddedToken(static_cast<int32_t>(id));
  };
  const std::vector<int64_t>& ends = model.eos_token_ids;
  return !ends.empty() && std::none_of(ends.begin(), ends.end(), is_end);
}

}  // namespace

TokenizerFit FitOf(const Tokenizer& tokenizer, const ModelSpec& model) {
  TokenizerFit fit;
  const int64_t rows = model.vocab_size, tokens = int64_t{tokenizer.MaxId()} + 1;
  const int64_t beyond = tokenizer.CountFrom(rows);
  if (TooManyTokens(beyond, rows)) {
    fit.fault = absl::StrCat("the tokenizer has ", Counted(beyond, "token"),
                             " without a row in the model's embedding of ", WithCommas(rows),
                             " rows (vocab_size)", kRemedy);
    return fit;
  }
  if (TooManyRows(rows - tokens, rows)) {
    fit.fault = absl::StrCat("the tokenizer's ", WithCommas(tokens), " tokens leave ",
                             WithCommas(rows - tokens), " of the embedding's ", WithCommas(rows),
                             " rows (vocab_size) without one", kRemedy);
    return fit;
  }
  if (EndsAreNoEnds(tokenizer, model)) {
    const auto id = static_cast<int32_t>(model.eos_token_ids.front());
    const std::string text =
        absl::StrCat("config.json ends texts with token ", absl::StrJoin(model.eos_token_ids, ", "),
                     " (eos_token_id), which is the word '", Printable(tokenizer.IdToToken(id)),
                     "' in the tokenizer, not a special token");
    if (rows > kSmallEmbedding) fit.fault = absl::StrCat(text, kRemedy);
    if (fit.fault.empty()) fit.warning = absl::StrCat(text, ": is it the tokenizer of this model?");
  }
  return fit;
}

}  // namespace fttrain
