#include "data/formats/prompts.h"

#include <memory>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "data/chat/jinja/error.h"
#include "data/formats/cells.h"
#include "data/formats/conversations.h"
#include "data/formats/dataset.h"
#include "data/formats/row.h"
#include "data/formats/row_reader.h"
#include "data/formats/row_source.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

// {"prompt": "..."}; what else it has is not used.
absl::Status ReadText(const RowObject& row, PromptRow* out) {
  FT_ASSIGN_OR_RETURN(out->text, row.String("prompt"));
  if (out->text.empty()) return row.Error("'prompt' is empty: there is nothing to answer");
  for (const auto& [key, value] : row.json().items()) {
    if (key != "prompt" && !IsNothing(value)) row.context().notes->unused.insert(Printable(key));
  }
  return absl::OkStatus();
}

absl::Status ReadMessages(const RowObject& row, PromptRow* out) {
  FT_RETURN_IF_ERROR(row.JudgeKeys(kMessagesForm, ""));
  FT_ASSIGN_OR_RETURN(RowConversation read, ConversationOf(row, kMessagesForm));
  out->conversation = std::move(read.conversation);
  const std::vector<Message>& messages = out->conversation.messages;
  if (messages.empty() || messages.back().role == "assistant") {
    return row.Error("'messages' must end with one that the assistant is to answer");
  }
  return absl::OkStatus();
}

absl::Status ReadPrompt(const SourceRow& source, const RowContext& context, PromptRow* out) {
  FT_ASSIGN_OR_RETURN(const RowJson json, JsonOf(source, context.names));
  const RowObject row(json, source.where, KeyLevel::kRow, context);
  if (!json.is_object()) return NoObject(row);
  out->where = source.where;
  const bool text = row.json().contains("prompt"), turns = row.json().contains("messages");
  if (text && turns) return row.Error("'prompt' and 'messages' both ask: keep one");
  if (!text && !turns) return row.Error("key 'prompt' or 'messages' is missing");
  try {
    return text ? ReadText(row, out) : ReadMessages(row, out);
  } catch (const jinja::Error& error) {  // more values than a template may be given
    return row.Error(error.message);
  }
}

}  // namespace

absl::StatusOr<PromptRows> LoadPrompts(const std::string& path) {
  const DatasetOptions options;
  FT_ASSIGN_OR_RETURN(const KeyNames names, KeyNames::Create({}, RowFormat::kMessages));
  FT_ASSIGN_OR_RETURN(const std::unique_ptr<RowSource> source,
                      OpenRows(path, options.max_row_bytes, {"prompt", "messages"}));
  PromptRows out;
  std::vector<std::string> faults;
  for (;;) {
    FT_ASSIGN_OR_RETURN(const std::optional<SourceRow> next, source->Next());
    if (!next.has_value()) break;
    RowNotes notes;
    PromptRow row;
    const absl::Status status = ReadPrompt(*next, {options, names, &notes}, &row);
    if (!status.ok()) faults.emplace_back(status.message());
    if (faults.size() == kMaxFaults) break;
    for (const std::string& key : notes.unused) ++out.unused[key];
    out.rows.push_back(std::move(row));
  }
  if (!faults.empty()) return absl::InvalidArgumentError(absl::StrJoin(faults, "\n"));
  if (out.rows.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": there are no rows"));
  }
  return out;
}

}  // namespace fttrain
