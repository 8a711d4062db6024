// Lists of messages -> turns of a conversation.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "data/chat/conversation.h"
#include "data/formats/row.h"

namespace fttrain {

// How a list of messages is read.
struct TurnList {
  absl::string_view name;  // its key's, in the row
  unsigned forms;          // of the row: RowForm
  bool share_gpt;          // from and value, and ShareGPT's words for roles, are read too
  bool learn;              // assistant turns are learnt unless they say otherwise
};

// Where the row has other words for what templates are given, for what they say of it:
// "tool_calls is what the row has as function_call".
using OtherWords = std::set<std::string>;

// The turns of `list`, a value of `row`. Errors name the message: "'messages'[3]: ...".
absl::StatusOr<std::vector<Message>> ReadTurns(const RowObject& row, const RowJson& list,
                                               const TurnList& how, OtherWords* words);

}  // namespace fttrain
