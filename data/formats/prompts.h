// Files of prompts: what is to be answered, a row each.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/chat/conversation.h"

namespace fttrain {

struct PromptRow {
  std::string where;          // "in.jsonl:3"
  std::string text;           // of {"prompt": "..."}
  Conversation conversation;  // of {"messages": [...]}, as RowFormat::kMessages reads them; else
                              // without messages
};

struct PromptRows {
  std::vector<PromptRow> rows;
  std::map<std::string, int64_t> unused;  // key -> rows that have something there
};

// Rows of a file that is anything a dataset may be (row_source.h). InvalidArgument with a line for
// each of the first kMaxFaults bad rows: one that has neither key or both, an empty prompt, a
// conversation that the assistant has had the last word in. NotFound if the file cannot be opened.
absl::StatusOr<PromptRows> LoadPrompts(const std::string& path);

}  // namespace fttrain
