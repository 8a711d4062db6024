#include "launch/run/training_data.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "data/formats/row.h"
#include "data/packing/file_digest.h"
#include "data/packing/held_out.h"
#include "data/packing/token_cache.h"
#include "launch/exit_code.h"
#include "runtime/process/check.h"
#include "runtime/process/process.h"

namespace fttrain {
namespace {

// Names of keys are the config's, not the file's, fault.
absl::Status CheckFields(const DatasetSpec& file, const std::string& key, RowFormat format) {
  const absl::Status known = KeyNames::Create(file.fields, format).status();
  if (known.ok()) return known;
  return absl::InvalidArgumentError(absl::StrCat(key, ".", known.message()));
}

// Formats that the rows themselves tell. Ready-made tokens need neither tokenizer nor template, so
// that a folder without them will do.
absl::StatusOr<std::vector<FoundFormat>> FormatsOf(const std::vector<DataFile>& files,
                                                   const DatasetOptions& options) {
  std::vector<FoundFormat> formats;
  for (const DataFile& file : files) {
    FT_RETURN_IF_ERROR(CheckFields(file.spec, file.key, file.spec.format));
    FT_ASSIGN_OR_RETURN(FoundFormat found, FromFile(FindFormat(file.spec, options)));
    FT_RETURN_IF_ERROR(CheckFields(file.spec, file.key, found.format));
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

// fttrain/tokens in the user's cache folder.
absl::StatusOr<std::string> UserCache() {
  for (const auto& [variable, below] : {std::pair{"XDG_CACHE_HOME", ""}, {"HOME", "/.cache"}}) {
    const char* const value = std::getenv(variable);
    if (value != nullptr && *value != '\0') return absl::StrCat(value, below, "/fttrain/tokens");
  }
  return absl::InvalidArgumentError(
      "data.cache_dir auto is a folder of the user's, but there is neither HOME nor "
      "XDG_CACHE_HOME: "
      "set data.cache_dir");
}

// Files of a run as examples, in memory or from the cache.
class Files {
 public:
  Files(const DataTask& task, const std::string& folder, const CacheChoice& choice,
        const DatasetOptions& options)
      : task_(task), model_folder_(folder), choice_(choice), options_(options) {}

  absl::StatusOr<CachedDataset> Load(const DatasetSpec& file) {
    FT_ASSIGN_OR_RETURN(const bool cached, IsCached(file));
    if (cached) {
      FT_RETURN_IF_ERROR(Prepare());
      DatasetOptions options = options_;
      options.threads = std::max(options.threads, UsableCores());  // other ranks wait for this one
      return LoadCached(file, options, cache_);
    }
    FT_ASSIGN_OR_RETURN(Dataset read, LoadDataset(file, options_));
    return CachedDataset{std::move(read.examples), std::move(read.report)};
  }
  // Of the files that were loaded.
  RowCache rows() const { return rows_; }

 private:
  absl::StatusOr<bool> IsCached(const DatasetSpec& file) const {
    if (choice_.folder == "none" || options_.most_rows > 0) return false;
    if (choice_.folder != "auto") return true;
    FT_ASSIGN_OR_RETURN(const FileState state, StateOf(file.path));
    return state.bytes >= kCachedBytes;
  }
  absl::Status Prepare() {
    if (!cache_.texts.empty()) return absl::OkStatus();
    cache_.folder = choice_.folder;
    if (cache_.folder == "auto") {
      FT_ASSIGN_OR_RETURN(cache_.folder, UserCache());
    }
    cache_.say = choice_.say;
    FT_ASSIGN_OR_RETURN(const std::string program, DigestOfProgram());
    FT_ASSIGN_OR_RETURN(const std::string model, DigestOfTokenizerFiles(model_folder_));
    std::string chat;  // what no file of the model is
    if (absl::EndsWith(task_.chat.name, ".jinja")) {
      FT_ASSIGN_OR_RETURN(chat, DigestOfFile(task_.chat.name, 1));
    }
    rows_ = {cache_.folder, program};
    cache_.texts = absl::StrJoin({program, model, task_.chat.name, chat, task_.chat.date}, " ");
    return absl::OkStatus();
  }

  const DataTask& task_;
  const std::string& model_folder_;
  const CacheChoice& choice_;
  const DatasetOptions& options_;
  TokenCache cache_;
  RowCache rows_;
};

}  // namespace

absl::StatusOr<TrainingData> ReadTrainingData(const DataTask& task, const std::string& folder,
                                              int64_t vocab_size, int64_t sequence_len,
                                              const CacheChoice& cache) {
  TrainingData data;
  DatasetOptions options;
  options.threads = at::get_num_threads();
  options.sequence_len = sequence_len;
  options.train_on = task.train_on;
  options.turns = task.turns;
  options.on_bad_row = task.on_bad_row;
  options.most_rows = task.most_rows;
  FT_ASSIGN_OR_RETURN(data.files, DataFilesOf(task));
  FT_ASSIGN_OR_RETURN(const std::vector<FoundFormat> formats, FormatsOf(data.files, options));
  absl::Status no_template;
  FT_RETURN_IF_ERROR(ReadTexts(task, folder, vocab_size, formats, data, no_template));
  options.tokenizer = data.tokenizer.get();
  options.chat = data.chat.get();
  options.vocab_size = vocab_size;
  if (vocab_size == 0 && data.tokenizer != nullptr)
    options.vocab_size = data.tokenizer->MaxId() + 1;
  Files files(task, folder, cache, options);
  for (size_t i = 0; i < data.files.size(); ++i) {
    DatasetSpec& file = data.files[i].spec;
    file.format = formats[i].format;
    absl::StatusOr<CachedDataset> read = FromFile(files.Load(file));
    FT_RETURN_IF_ERROR(WithReason(read.status(), no_template));
    read->report.why = formats[i].why;
    const bool is_learnt = data.files[i].is_learnt;
    ExampleList& examples = is_learnt ? data.examples : data.held_out;
    examples.Append(read->examples);
    data.reports.push_back(std::move(read->report));
    if (is_learnt) data.ends.push_back(static_cast<int64_t>(examples.size()));
  }
  data.rows = files.rows();
  return data;
}

std::vector<WeightedPart> PartsOf(const TrainingData& data) {
  std::vector<WeightedPart> parts;
  for (size_t i = 0; i < data.ends.size(); ++i) {
    const DataFile& file = data.files[i];
    // Files of one source are one part.
    if (i > 0 && file.source == data.files[i - 1].source) parts.pop_back();
    parts.push_back({data.ends[i], file.spec.weight});
  }
  return parts;
}

absl::StatusOr<std::shared_ptr<RowStream>> HeldOutRows(const DataTask& task, RowOptions options,
                                                       int64_t rows_per_step, TrainingData& data) {
  if (task.held_out_share > 0) {
    FT_ASSIGN_OR_RETURN(data.held_out,
                        HoldOut(task.held_out_share, options.seed, data.examples, data.ends));
  }
  if (data.held_out.empty()) return nullptr;
  options.shuffle = false;
  absl::StatusOr<RowStream> rows =
      RowStream::Create(std::move(data.held_out), options, {}, data.rows);
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
