// Dataset files -> examples.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/chat/template.h"
#include "data/formats/row_format.h"
#include "data/text/example.h"
#include "data/tokenizer/tokenizer.h"

namespace fttrain {

struct DatasetSpec {
  std::string path;  // what it may be: row_source.h
  RowFormat format = RowFormat::kAuto;
  // Keys of this file's rows and messages by the name that the format has for them:
  // {"messages", "dialog"}, {"role", "speaker"}. What is read as `dialog` is not looked for as
  // `messages` any more: such a key is one that is not used.
  std::map<std::string, std::string> fields = {};
  // How often an epoch has each of its examples: of the file that `path` is, or the files that it
  // stands for (packing/mixture.h).
  double weight = 1;
};

// Of texts and tokens it says nothing.
enum class TrainOn {
  kAll,     // assistant turns that learn
  kLast,    // of these the last of a conversation
  kPrompt,  // everything, prompts and headers too, but turns that the row marks as not to learn
};
enum class Turns {
  kWhole,  // a conversation is one example, rendered once
  kEach,   // one example a turn that learns, which ends there
};
enum class OnBadRow { kStop, kSkip };

struct DatasetOptions {
  const Tokenizer* tokenizer = nullptr;  // may be null for kTokens
  const ChatTemplate* chat = nullptr;    // needed where a row is a conversation
  int64_t vocab_size = 0;                // rows of the embedding: every id is below
  int64_t max_row_bytes = int64_t{1} << 26;
  // Rows are read by so many, with the same result; tokenizer and chat are then used by all of them
  // at once.
  int threads = 1;
  int64_t sequence_len = 0;  // kText is cut into examples of so many tokens; 0: never
  TrainOn train_on = TrainOn::kAll;
  Turns turns = Turns::kWhole;
  OnBadRow on_bad_row = OnBadRow::kStop;
  int64_t most_rows = 0;  // of a file, the first; 0: all
};

// What was made of a file's rows, for people.
struct DatasetReport {
  std::string path;
  RowFormat format = RowFormat::kAuto;  // never kAuto once read
  std::string why;                      // of kAuto: by which keys
  int64_t rows = 0, skipped = 0;        // skipped: bad ones, by OnBadRow::kSkip
  std::vector<std::string> faults;      // of these the first kMaxFaults
  // Key -> rows that have something there which is not used: "id"; of messages "messages[].id"; of
  // an object that wraps the rows, its other keys.
  std::map<std::string, int64_t> unused;
  int64_t straddling = 0;             // tokens that cover a target's border: not learnt
  int64_t dropped_reasoning = 0;      // turns, as RenderedChat's
  int64_t cut_texts = 0, pieces = 0;  // texts longer than sequence_len, and what they became
  // Rows of conversations in which a text spells a special token and so becomes it.
  int64_t special_texts = 0;
  std::string first_special_text;  // "train.jsonl:9: message 1 (user) has <|im_end|>, where ..."
  int64_t shifted_labels = 0;      // rows whose labels are those of the next token
  std::string first_shifted;       // "train.jsonl:9"
};

// Takes a file's examples, in order. What it returns ends the reading.
class ExampleSink {
 public:
  virtual ~ExampleSink() = default;
  virtual absl::Status Add(Example example) = 0;
};

struct Dataset {
  std::vector<Example> examples;
  DatasetReport report;
};

inline constexpr int kMaxFaults = 20;  // told of one file

struct FoundFormat {
  RowFormat format = RowFormat::kAuto;
  std::string why;  // by which keys: "rows have 'messages'"; empty where it was not kAuto
};
// The format of a file's rows, of kAuto by the first that has something. No member of `options`
// but max_row_bytes is looked at. InvalidArgument where there are several, or none.
absl::StatusOr<FoundFormat> FindFormat(const DatasetSpec& spec, const DatasetOptions& options);

// Rows of a file, good or bad, without a look into them. As FindFormat's options, and errors as
// OpenRows and its source.
absl::StatusOr<int64_t> CountRows(const DatasetSpec& spec, const DatasetOptions& options);

// Every rank reads the whole file and gets the same result. Bad rows are the error, the first
// kMaxFaults of them a line each, as "train.jsonl:1841: key 'messages' is missing" or
// "train.json[17]: ...", and one that says how many more there are; so are a file where all rows
// are bad, whatever on_bad_row says, an empty one, one where no row has a target, and one of
// ready-made tokens where every row's labels are shifted already. What ends the reading before the
// file's end is told last. NotFound if the file cannot be opened.
absl::StatusOr<Dataset> LoadDataset(const DatasetSpec& spec, const DatasetOptions& options);

// The same, of which the examples go to `sink` as they are read. Memory: a batch of rows.
absl::StatusOr<DatasetReport> ReadDataset(const DatasetSpec& spec, const DatasetOptions& options,
                                          ExampleSink& sink);

}  // namespace fttrain
