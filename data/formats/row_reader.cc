#include "data/formats/row_reader.h"

#include "absl/strings/str_cat.h"
#include "data/chat/jinja/error.h"
#include "data/formats/cells.h"
#include "data/formats/conversations.h"
#include "data/formats/examples.h"
#include "runtime/process/check.h"

namespace fttrain {

namespace {

absl::StatusOr<std::vector<Example>> ReadObject(const RowObject& object, RowFormat format) {
  const RowForm form = FormOf(object, format);
  FT_RETURN_IF_ERROR(object.JudgeKeys(form, ""));
  switch (form) {
    case kTokensForm:
      return TokenExamples(object);
    case kTextForm:
      return TextExamples(object);
    case kPairForm:
      return PairExamples(object, "completion");
    case kChosenForm:
      return PairExamples(object, "chosen");
    default:
      break;
  }
  FT_ASSIGN_OR_RETURN(RowConversation conversation, ConversationOf(object, form));
  return ExamplesOf(object, std::move(conversation));
}

}  // namespace

absl::Status NoObject(const RowObject& row) {
  return row.Error(absl::StrCat("a row is a JSON object, not ", TypeOf(row.json())));
}

absl::StatusOr<std::vector<Example>> ReadRow(const SourceRow& row, RowFormat format,
                                             const RowContext& context) {
  FT_ASSIGN_OR_RETURN(const RowJson json, JsonOf(row, context.names));
  const RowObject object(json, row.where, KeyLevel::kRow, context);
  if (!json.is_object()) return NoObject(object);
  try {
    return ReadObject(object, format);
  } catch (const jinja::Error& error) {  // more values than a template may be given
    return object.Error(error.message);
  }
}

}  // namespace fttrain
