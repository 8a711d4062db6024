// Dataset files -> examples.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/chat/template.h"
#include "data/text/example.h"
#include "data/tokenizer/tokenizer.h"

namespace fttrain {

// What a row is. Strings are encoded with the tokenizer's post-processor (BOS), rendered
// conversations without. Other keys are ignored.
enum class RowFormat {
  // {"messages": [{"role": "user", "content": "..."}, ...]}; loss on the assistant's turns.
  kMessages,
  // {"prompt": P, "completion": C}: both strings, loss on C and the EOS put behind it if it lacks
  // one; or both lists of messages, loss on C's assistant turns.
  kPromptCompletion,
  // {"instruction", "output"} and, if there, "input", "system" and "history", made into messages.
  kAlpaca,
  // {"text": "..."}, EOS put behind it if it lacks one; loss on every token.
  kText,
  // {"input_ids": [...], "labels": [...]}, used as given; without labels every token is a target.
  kTokens,
};

// Members of DatasetOptions that rows of a format may ask for.
struct FormatNeeds {
  bool tokenizer, chat;
};
FormatNeeds NeedsOf(RowFormat format);

struct DatasetSpec {
  // .jsonl: one object a line (blank lines are skipped); .json: an array of objects.
  std::string path;
  RowFormat format;
};

struct DatasetOptions {
  const Tokenizer* tokenizer = nullptr;      // may be null for kTokens
  const ChatTemplate* chat = nullptr;        // needed where a row is a conversation
  int64_t vocab_size = 0;                    // rows of the embedding: every id is below
  int64_t max_row_bytes = int64_t{1} << 26;  // of one line; a .json file may hold 64 times as much
  // Rows are read by so many, with the same result; tokenizer and chat are then used by all of them
  // at once.
  int threads = 1;
};

// Every rank reads the whole file and gets the same result. The first bad row is the error, as
// "train.jsonl:1841: key 'messages' is missing" or "train.json[17]: ..."; so are an empty file and
// one where no row has a target. NotFound if the file cannot be opened.
absl::StatusOr<std::vector<Example>> LoadExamples(const DatasetSpec& spec,
                                                  const DatasetOptions& options);

}  // namespace fttrain
