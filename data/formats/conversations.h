// Rows that are conversations -> conversations, whatever their format.
#pragma once

#include "absl/status/statusor.h"
#include "data/chat/conversation.h"
#include "data/formats/row.h"
#include "data/formats/turns.h"

namespace fttrain {

struct RowConversation {
  Conversation conversation;
  OtherWords words;
};

// The form of a row of a format that has two; the first where its keys do not say.
RowForm FormOf(const RowObject& row, RowFormat format);

// A row of one of the forms of turns. With train_on prompt, turns that a format keeps as a prompt
// are marked to be learnt, too; those left unmarked are the ones that the row itself excludes.
absl::StatusOr<RowConversation> ConversationOf(const RowObject& row, RowForm form);

}  // namespace fttrain
