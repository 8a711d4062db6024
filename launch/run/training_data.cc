#include "launch/run/training_data.h"

#include <ATen/Parallel.h>

#include <iterator>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "data/formats/row.h"
#include "data/packing/held_out.h"
#include "launch/exit_code.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

// Names of keys are the config's, not the file's, fault.
absl::Status CheckFields(const DatasetSpec& file, const std::string& key, RowFormat format) {
  const absl::Status known = KeyNames::Create(file.fields, format).status();
  if (known.ok()) return known;
  return absl::InvalidArgumentError(absl::StrCat(key, ".", known.message()));
}

// Those to learn, then those that are held out.
std::vector<DatasetSpec> AllFiles(const DataTask& task) {
  std::vector<DatasetSpec> files = task.files;
  files.insert(files.end(), task.held_out_files.begin(), task.held_out_files.end());
  return files;
}

// Of a file of AllFiles.
std::string KeyOf(const DataTask& task, size_t i) {
  const size_t learnt = task.files.size();
  return i < learnt ? absl::StrCat("data.train[", i, "]")
                    : absl::StrCat("data.eval[", i - learnt, "]");
}

// Formats that the rows themselves tell. Ready-made tokens need neither tokenizer nor template, so
// that a folder without them will do.
absl::StatusOr<std::vector<FoundFormat>> FormatsOf(const DataTask& task,
                                                   const DatasetOptions& options) {
  std::vector<FoundFormat> formats;
  for (const DatasetSpec& file : AllFiles(task)) {
    const std::string key = KeyOf(task, formats.size());
    FT_RETURN_IF_ERROR(CheckFields(file, key, file.format));
    FT_ASSIGN_OR_RETURN(FoundFormat found, FromFile(FindFormat(file, options)));
    FT_RETURN_IF_ERROR(CheckFields(file, key, found.format));
    formats.push_back(std::move(found));
  }
  return formats;
}

// Rows of a prompt may be strings or conversations: only the latter need the folder's template,
// which base models lack.
bool MayDoWithoutTemplate(RowFormat format) {
  return format == RowFormat::kPromptCompletion || format == RowFormat::kPreference;
}

// `no_template` is why there is none, where that is not an error yet.
absl::Status ReadTexts(const DataTask& task, const std::string& folder, int64_t vocab_size,
                       const std::vector<FoundFormat>& formats, TrainingData& data,
                       absl::Status& no_template) {
  FormatNeeds needs = {false, false};
  bool must_chat = false;
  for (const FoundFormat& found : formats) {
    needs.tokenizer |= NeedsOf(found.format).tokenizer;
    needs.chat |= NeedsOf(found.format).chat;
    must_chat |= NeedsOf(found.format).chat && !MayDoWithoutTemplate(found.format);
  }
  if (needs.tokenizer) {
    FT_ASSIGN_OR_RETURN(data.tokenizer, FromFile(Tokenizer::Load(folder)));
    data.notes = data.tokenizer->Notes();
    const std::string beyond =
        vocab_size > 0 ? NoteTokensBeyond(*data.tokenizer, vocab_size) : std::string();
    if (!beyond.empty()) data.notes.push_back(beyond);
  }
  if (needs.chat) {
    absl::StatusOr<ChatTemplate> chat = ChatTemplate::Create(task.chat, folder, *data.tokenizer);
    if (!chat.ok()) {
      no_template = chat.status();
      return must_chat ? no_template : absl::OkStatus();
    }
    data.chat = std::make_unique<ChatTemplate>(*std::move(chat));
    data.notes.insert(data.notes.end(), data.chat->Notes().begin(), data.chat->Notes().end());
  }
  return absl::OkStatus();
}

// A row that is a conversation after all is told with why there is no template.
absl::Status WithReason(const absl::Status& status, const absl::Status& no_template) {
  if (no_template.ok() || !absl::StrContains(status.message(), "chat template")) return status;
  // A line of its own behind several rows' lines.
  const char* const between = absl::StrContains(status.message(), '\n') ? "\n" : "; ";
  return absl::Status(status.code(),
                      absl::StrCat(status.message(), between, no_template.message()));
}

}  // namespace

absl::StatusOr<TrainingData> ReadTrainingData(const DataTask& task, const std::string& folder,
                                              int64_t vocab_size, int64_t sequence_len) {
  TrainingData data;
  DatasetOptions options;
  options.threads = at::get_num_threads();
  options.sequence_len = sequence_len;
  options.train_on = task.train_on;
  options.turns = task.turns;
  options.on_bad_row = task.on_bad_row;
  options.most_rows = task.most_rows;
  FT_ASSIGN_OR_RETURN(const std::vector<FoundFormat> formats, FormatsOf(task, options));
  absl::Status no_template;
  FT_RETURN_IF_ERROR(ReadTexts(task, folder, vocab_size, formats, data, no_template));
  options.tokenizer = data.tokenizer.get();
  options.chat = data.chat.get();
  options.vocab_size = vocab_size;
  if (vocab_size == 0 && data.tokenizer != nullptr)
    options.vocab_size = data.tokenizer->MaxId() + 1;
  std::vector<DatasetSpec> files = AllFiles(task);
  for (size_t i = 0; i < files.size(); ++i) {
    DatasetSpec& file = files[i];
    const bool is_learnt = i < task.files.size();
    std::vector<Example>& examples = is_learnt ? data.examples : data.held_out;
    file.format = formats[i].format;
    absl::StatusOr<Dataset> read = FromFile(LoadDataset(file, options));
    FT_RETURN_IF_ERROR(WithReason(read.status(), no_template));
    read->report.why = formats[i].why;
    std::move(read->examples.begin(), read->examples.end(), std::back_inserter(examples));
    data.reports.push_back(std::move(read->report));
    if (is_learnt) data.ends.push_back(static_cast<int64_t>(examples.size()));
  }
  return data;
}

absl::StatusOr<std::shared_ptr<RowStream>> HeldOutRows(const DataTask& task, RowOptions options,
                                                       int64_t rows_per_step, TrainingData& data) {
  if (task.held_out_share > 0) {
    FT_ASSIGN_OR_RETURN(data.held_out,
                        HoldOut(task.held_out_share, options.seed, data.examples, data.ends));
  }
  if (data.held_out.empty()) return nullptr;
  options.shuffle = false;
  absl::StatusOr<RowStream> rows = RowStream::Create(std::move(data.held_out), options);
  if (!rows.ok()) {
    return absl::Status(rows.status().code(),
                        absl::StrCat("held-out rows: ", std::string(rows.status().message())));
  }
  rows->EndAfterEpochs(1, rows_per_step);
  return std::make_shared<RowStream>(*std::move(rows));
}

EndTokens EndTokensOf(const TrainingData& data, const DataTask& task) {
  EndTokens tokens;
  if (data.tokenizer == nullptr) return tokens;
  tokens.bos = data.tokenizer->TokenToId(data.tokenizer->BosToken());
  // Behind the end of a turn a template may write more, which is learnt with the prompts.
  if (task.train_on == TrainOn::kPrompt) return tokens;
  if (const auto eos = data.tokenizer->EosId()) tokens.ends.push_back(*eos);
  if (data.chat == nullptr) return tokens;
  const auto turn = data.tokenizer->TokenToId(data.chat->end_of_turn());
  if (turn) tokens.ends.push_back(*turn);
  return tokens;
}

}  // namespace fttrain
