// The fate of every key of a row and of a turn: read, refused because it would change what is
// learnt, or counted as unused.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "data/formats/row_format.h"

namespace fttrain {

// What a row turns out to be; some formats have two forms. Bits of a set.
enum RowForm : unsigned {
  kMessagesForm = 1 << 0,
  kShareGptForm = 1 << 1,
  kPairForm = 1 << 2,       // prompt and completion are strings
  kPairTurnsForm = 1 << 3,  // or lists of messages
  kAlpacaForm = 1 << 4,
  kTextForm = 1 << 5,
  kTokensForm = 1 << 6,
  kChosenForm = 1 << 7,       // prompt and chosen are strings
  kChosenTurnsForm = 1 << 8,  // chosen is a list of messages
};
unsigned FormsOf(RowFormat format);

enum class KeyLevel { kRow, kTurn };

struct KeyFate {
  enum { kUnused, kRead, kRefused } what = kUnused;
  const char* remedy = "";    // of kRefused
  const char* harmless = "";  // of kRefused: the JSON of a value that changes nothing
};

// `key` by the name that the format has for it.
KeyFate FateOf(KeyLevel level, absl::string_view key, unsigned forms);

// The keys that rows (turns) of these forms are read by, in the table's order.
std::vector<std::string> KeysRead(KeyLevel level, unsigned forms);

}  // namespace fttrain
