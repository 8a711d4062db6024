#include "launch/run/questions.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "data/formats/dataset.h"
#include "launch/exit_code.h"
#include "launch/run/network.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

absl::StatusOr<std::vector<int32_t>> TokensOf(const Speech& speech, const PromptRow& row,
                                              const std::string& system) {
  Conversation asked = row.conversation;
  const bool text = asked.messages.empty();
  if (speech.raw() && text) return speech.AskText(row.text);
  if (speech.raw()) {
    return absl::InvalidArgumentError("'messages' need the template that --raw leaves out");
  }
  if (text) asked.messages.push_back({"user", row.text});
  if (!system.empty()) {
    if (asked.messages[0].role == "system" || asked.messages[0].role == "developer") {
      return absl::InvalidArgumentError(
          "the conversation has a system message, and so has "
          "--system: keep one");
    }
    asked.messages.insert(asked.messages.begin(), {"system", system});
  }
  return speech.Ask(asked);
}

}  // namespace

absl::StatusOr<std::vector<PromptRow>> ReadPromptRows(const std::string& path) {
  FT_ASSIGN_OR_RETURN(PromptRows read, FromFile(LoadPrompts(path)));
  for (const auto& [key, count] : read.unused) {
    LogInfo(absl::StrCat("note       ", count, count == 1 ? " row has '" : " rows have '", key,
                         "', which is not used"));
  }
  return std::move(read.rows);
}

absl::StatusOr<Questions> AskRows(std::vector<PromptRow> rows, Speech speech,
                                  const ModelSpec& model, const AskOptions& options) {
  Questions questions{std::move(speech), std::move(rows), {}, 0};
  std::vector<std::string> faults;
  const auto check = [&](const PromptRow& row) -> absl::Status {
    FT_ASSIGN_OR_RETURN(std::vector<int32_t> ids, TokensOf(questions.speech, row, options.system));
    const auto tokens = static_cast<int64_t>(ids.size());
    questions.longest = std::max(questions.longest, tokens);
    questions.prompts.push_back(std::move(ids));
    return CheckAnswers(
        model, tokens + options.max_new_tokens,
        absl::StrCat("the prompt's ", tokens, " tokens and ", options.limit, " make"),
        "shorten one of them");
  };
  for (const PromptRow& row : questions.rows) {
    const absl::Status status = check(row);
    if (status.ok()) continue;
    if (row.where.empty()) return status;
    faults.push_back(absl::StrCat(row.where, ": ", std::string(status.message())));
    if (faults.size() == kMaxFaults) break;
  }
  if (!faults.empty()) {
    return FromFile(absl::Status(absl::InvalidArgumentError(absl::StrJoin(faults, "\n"))));
  }
  return questions;
}

}  // namespace fttrain
