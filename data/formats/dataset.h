// Dataset files -> examples.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "data/chat/template.h"
#include "data/text/example.h"
#include "data/tokenizer/tokenizer.h"

namespace fttrain {

// What a row is. Strings are encoded with the tokenizer's post-processor (BOS), rendered
// conversations without. A key that would change what is learnt is used or refused by name; what
// else a row has is counted (DatasetReport::unused). null, "", [] and "[]" are as absent.
enum class RowFormat {
  kAuto,  // the one whose keys the first row has; DatasetReport says which, and by which keys
  // {"messages": [{"role": "user", "content": "..."}, ...]}, or the list under "conversations";
  // and, if there, "system", "tools", "documents". Loss on the assistant's turns but those marked
  // by weight, train, loss or mask (0 or false).
  kMessages,
  // {"conversations": [{"from": "human", "value": "..."}, ...]}, role words of all tools in use;
  // otherwise as kMessages.
  kShareGpt,
  // {"prompt": P, "completion": C}: both strings, loss on C and the EOS put behind it if it lacks
  // one; or both lists of messages, loss on C's assistant turns.
  kPromptCompletion,
  // {"instruction", "output"} and, if there, "input", "system" and "history", made into messages.
  kAlpaca,
  // {"text": "..."}, EOS put behind it if it lacks one; loss on every token. Longer ones than
  // sequence_len become several examples.
  kText,
  // {"input_ids": [...], "labels": [...]}, used as given; without labels every token is a target.
  // What attention_mask masks at either end is taken off.
  kTokens,
  // {"prompt", "chosen", "rejected"}, the latter left: as kPromptCompletion of prompt and chosen,
  // or a conversation in chosen.
  kPreference,
};

// Members of DatasetOptions that rows of a format may ask for.
struct FormatNeeds {
  bool tokenizer, chat;
};
FormatNeeds NeedsOf(RowFormat format);

struct DatasetSpec {
  std::string path;  // what it may be: row_source.h
  RowFormat format = RowFormat::kAuto;
  // Keys of this file's rows and messages by the name that the format has for them:
  // {"messages", "dialog"}, {"role", "speaker"}.
  std::map<std::string, std::string> fields = {};
};

enum class TrainOn {
  kAll,     // assistant turns that learn
  kLast,    // of these the last of a conversation
  kPrompt,  // everything, prompts and headers too
};
enum class Turns {
  kWhole,  // a conversation is one example, rendered once
  kEach,   // one example a turn that learns, which ends there
};
enum class OnBadRow { kStop, kSkip };

struct DatasetOptions {
  const Tokenizer* tokenizer = nullptr;      // may be null for kTokens
  const ChatTemplate* chat = nullptr;        // needed where a row is a conversation
  int64_t vocab_size = 0;                    // rows of the embedding: every id is below
  int64_t max_row_bytes = int64_t{1} << 26;  // of one line; a .json file may hold 64 times as much
  // Rows are read by so many, with the same result; tokenizer and chat are then used by all of them
  // at once.
  int threads = 1;
  int64_t sequence_len = 0;  // kText is cut into examples of so many tokens; 0: never
  TrainOn train_on = TrainOn::kAll;
  Turns turns = Turns::kWhole;
  OnBadRow on_bad_row = OnBadRow::kStop;
};

// What was made of a file's rows, for people.
struct DatasetReport {
  std::string path;
  RowFormat format = RowFormat::kAuto;  // never kAuto once read
  std::string why;                      // of kAuto: by which keys
  int64_t rows = 0, skipped = 0;        // skipped: bad ones, by OnBadRow::kSkip
  std::vector<std::string> faults;      // of these the first kMaxFaults
  std::map<std::string, int64_t> unused;  // key -> rows that have something there which is not used
  int64_t straddling = 0;                 // tokens that cover a target's border: not learnt
  int64_t dropped_reasoning = 0;          // turns, as RenderedChat's
  int64_t cut_texts = 0, pieces = 0;      // texts longer than sequence_len, and what they became
};

struct Dataset {
  std::vector<Example> examples;
  DatasetReport report;
};

inline constexpr int kMaxFaults = 20;  // told of one file

// The word of data.train[].format.
std::string_view FormatName(RowFormat format);

// Every rank reads the whole file and gets the same result. Bad rows are the error, the first
// kMaxFaults of them a line each, as "train.jsonl:1841: key 'messages' is missing" or
// "train.json[17]: ...", and how many more there are; so are an empty file and one where no row has
// a target. What cannot be parsed is the last that is told. NotFound if the file cannot be opened.
absl::StatusOr<Dataset> LoadDataset(const DatasetSpec& spec, const DatasetOptions& options);

}  // namespace fttrain
