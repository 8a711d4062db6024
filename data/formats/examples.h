// What a row says -> examples: rendered, encoded, labelled.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "data/chat/template.h"
#include "data/formats/conversations.h"
#include "data/formats/row.h"
#include "data/text/example.h"

namespace fttrain {

// One example, or one for each turn that is learnt (Turns), with the loss that TrainOn says.
absl::StatusOr<std::vector<Example>> ExamplesOf(const RowObject& row, RowConversation conversation);

// Prompt and answer that are strings: `answer` names the key of the latter.
absl::StatusOr<std::vector<Example>> PairExamples(const RowObject& row, absl::string_view answer);

// A text, whole or in pieces of sequence_len tokens. Each piece begins with the token that the one
// before ends with, so that every token is predicted once.
absl::StatusOr<std::vector<Example>> TextExamples(const RowObject& row);

// Ready-made tokens.
absl::StatusOr<std::vector<Example>> TokenExamples(const RowObject& row);

}  // namespace fttrain
