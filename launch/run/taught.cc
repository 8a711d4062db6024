#include "launch/run/taught.h"

#include <optional>

#include "absl/strings/str_cat.h"
#include "model/config/generation_config.h"
#include "model/files/equal_rows.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

std::string NameOf(int64_t row, const Tokenizer& tokenizer) {
  const std::string token =
      row > tokenizer.MaxId() ? "" : tokenizer.IdToToken(static_cast<int32_t>(row));
  return token.empty() ? absl::StrCat("id ", row, ", which is no token's") : Printable(token);
}

std::string Warning(const TaughtToken& token, const EqualRows& equal, const Tokenizer& tokenizer) {
  std::string text = absl::StrCat(Printable(token.text), "'s row of the output head ");
  if (equal.zero) {
    absl::StrAppend(&text, "is all zeros");
  } else {
    absl::StrAppend(&text, "equals that of ", NameOf(equal.others.front(), tokenizer));
    if (equal.others_in_all > 1) absl::StrAppend(&text, " and ", equal.others_in_all - 1, " more");
  }
  absl::StrAppend(&text, ": it was never trained, and an adapter cannot change it: the model ");
  return token.ends
             ? absl::StrCat(text,
                            "cannot learn to stop there; train an instruct checkpoint, choose a "
                            "data.chat_template whose end token was trained, or train all weights "
                            "(adapter.method none)")
             : absl::StrCat(text,
                            "cannot learn to write it; train a checkpoint that was taught it, or "
                            "all weights (adapter.method none)");
}

}  // namespace

absl::StatusOr<Taught> TaughtBy(const ExampleList& examples, const Tokenizer* tokenizer,
                                const ChatTemplate* chat, const Task& task) {
  Taught taught;
  std::optional<int64_t> eos;
  if (tokenizer != nullptr) {
    taught.tokens = TaughtTokens(examples, *tokenizer, chat == nullptr ? "" : chat->end_of_turn());
    eos = tokenizer->EosId();
  }
  std::vector<int64_t> ends;
  if (!task.init_from.empty()) {
    FT_ASSIGN_OR_RETURN(ends, GenerationEndIds(task.init_from));
  }
  for (const TaughtToken& token : taught.tokens) {
    if (token.ends) ends.push_back(token.id);
  }
  if (ends.empty()) return taught;
  FT_ASSIGN_OR_RETURN(taught.generation_config, GenerationConfigWith(task.model_path, ends, eos));
  return taught;
}

absl::StatusOr<std::vector<std::string>> UntrainedRowWarnings(const Task& task,
                                                              const Taught& taught) {
  std::vector<std::string> warnings;
  std::vector<int64_t> rows;
  for (const TaughtToken& token : taught.tokens) {
    if (token.learnt) rows.push_back(token.id);
  }
  if (!task.form.adapter || rows.empty()) return warnings;
  FT_ASSIGN_OR_RETURN(const auto files, SafetensorsFolder::Open(task.model_path));
  FT_ASSIGN_OR_RETURN(const std::vector<EqualRows> untrained,
                      FindEqualHeadRows(*files, task.model, rows));
  if (untrained.empty()) return warnings;
  FT_ASSIGN_OR_RETURN(const auto tokenizer, Tokenizer::Load(task.model_path));
  for (const EqualRows& equal : untrained) {
    for (const TaughtToken& token : taught.tokens) {
      if (token.id == equal.row) warnings.push_back(Warning(token, equal, *tokenizer));
    }
  }
  return warnings;
}

}  // namespace fttrain
