#include "data/formats/cells.h"

#include <algorithm>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

// Lists in every format that knows them; `tools`, `documents` and `history` may be text anywhere.
constexpr absl::string_view kLists[] = {"messages",       "conversations",  "input_ids",
                                        "labels",         "attention_mask", "position_ids",
                                        "token_type_ids", "length"};
// Texts, or lists of messages.
constexpr absl::string_view kEither[] = {"prompt", "completion", "chosen", "rejected"};

template <size_t N>
bool IsOneOf(absl::string_view name, const absl::string_view (&names)[N]) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

bool IsListOfMessages(const RowJson& value) {
  return value.is_array() && !value.empty() &&
         std::all_of(value.begin(), value.end(), [](const RowJson& turn) {
           return turn.is_object() && (turn.contains("role") || turn.contains("from"));
         });
}

}  // namespace

absl::StatusOr<RowJson> JsonOf(const SourceRow& row, const KeyNames& names) {
  FT_RETURN_IF_ERROR(row.fault);
  FT_ASSIGN_OR_RETURN(RowJson json, ParseRowJson(row.text, row.where));
  if (!row.is_of_table || !json.is_object()) return json;
  for (auto& [key, value] : json.get_ref<RowJson::object_t&>()) {
    if (!value.is_string() || IsNothing(value)) continue;
    const absl::string_view name = names.NameOf(KeyLevel::kRow, key);
    const std::string text = value.get<std::string>();
    if (IsOneOf(name, kLists)) {
      const std::string where = absl::StrCat(row.where, ": the text of ", Quoted(key));
      FT_ASSIGN_OR_RETURN(value, ParseRowJson(text, where));
    } else if (IsOneOf(name, kEither) && text.starts_with("[")) {
      absl::StatusOr<RowJson> list = ParseRowJson(text, row.where);
      if (list.ok() && IsListOfMessages(*list)) value = *std::move(list);
    }
  }
  return json;
}

}  // namespace fttrain
