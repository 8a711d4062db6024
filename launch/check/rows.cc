#include "launch/check/rows.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "configs/validate_config.h"
#include "data/chat/source.h"
#include "launch/check/tokenizer_fit.h"
#include "launch/exit_code.h"
#include "launch/plan/paths.h"
#include "launch/report/data_report.h"
#include "launch/run/network.h"
#include "launch/run/numbers.h"
#include "launch/run/summary.h"
#include "launch/run/training_data.h"
#include "runtime/math/ceil_divide.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

// A config that was resolved, with what is read by it.
struct Source {
  config::LoadedConfig loaded;
  ModelSpec model;
  DataTask task;
  RowOptions rows;

  const std::string& folder() const { return loaded.config.model().path(); }
  absl::StatusOr<TrainingData> Read(const DataTask& with) const {
    return ReadTrainingData(with, folder(), model.vocab_size, rows.sequence_len);
  }
};

absl::StatusOr<Source> Resolve(config::LoadedConfig loaded, int world_size, int64_t count) {
  FT_RETURN_IF_ERROR(config::Validate(loaded, world_size));
  FT_RETURN_IF_ERROR(ResolveModelPath(loaded.config));
  Source source;
  FT_ASSIGN_OR_RETURN(source.model, ReadModel(loaded.config.model().path()));
  source.task = DataTaskOf(loaded);
  source.task.most_rows = count;
  source.rows = RowOptionsOf(loaded);
  source.loaded = std::move(loaded);
  return source;
}

// Errors unless their words are accepted; then they are warnings.
class Judge {
 public:
  Judge(const std::vector<std::string>& accepted, RowsSeen& seen)
      : accepted_(accepted), seen_(seen) {}

  absl::Status operator()(const std::string& word, const absl::Status& fault) {
    if (fault.ok()) return fault;
    if (std::count(accepted_.begin(), accepted_.end(), word) > 0) {
      seen_.warnings.emplace_back(fault.message());
      return absl::OkStatus();
    }
    return absl::Status(fault.code(),
                        absl::StrCat(fault.message(), "; if it is meant so: --accept=", word));
  }

 private:
  const std::vector<std::string>& accepted_;
  RowsSeen& seen_;
};

// Before rows are blamed for it: a tokenizer of another model has tokens that it cannot read.
absl::Status CheckTokenizer(const Source& source, RowsSeen& seen) {
  const auto tokenizer = Tokenizer::Load(source.folder());
  if (!tokenizer.ok()) return absl::OkStatus();  // who needs it says why
  TokenizerFit fit = FitOf(**tokenizer, source.model);
  if (!fit.warning.empty()) seen.warnings.push_back(std::move(fit.warning));
  if (fit.fault.empty()) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(source.folder(), ": ", fit.fault));
}

// Whether `ours` is `theirs` but for `end`, which is learnt where `theirs` has none or does not
// learn it.
bool AddsEndsAlone(const Example& ours, const Example& theirs, int32_t end) {
  const size_t size = theirs.input_ids.size();
  size_t j = 0;
  for (size_t i = 0; i < ours.input_ids.size(); ++i) {
    const bool is_end = ours.input_ids[i] == end && ours.labels[i] == end;
    const bool same = j < size && ours.input_ids[i] == theirs.input_ids[j];
    if (same && (is_end || ours.labels[i] == theirs.labels[j])) {
      ++j;
    } else if (!is_end) {
      return false;
    }
  }
  return j == size;
}

// The token that ends answers where the model's own template writes none, as GLM-4's, whose next
// turn begins with it. Without it the model would not learn to stop.
std::optional<int32_t> AddedEnd(const TrainingData& data, const ChatTemplate& own) {
  if (data.tokenizer == nullptr || !own.end_of_turn().empty()) return std::nullopt;
  return data.tokenizer->TokenToId(data.chat->end_of_turn());
}

// That the model's own template, if it has one, writes the same, or the same without an end.
absl::Status CheckTemplate(const Source& source, const TrainingData& data) {
  if (data.chat == nullptr || source.task.chat.name == "auto") return absl::OkStatus();
  DataTask own = source.task;
  own.chat.name = "auto";
  const absl::StatusOr<TrainingData> written = source.Read(own);
  if (!written.ok() || written->chat == nullptr) return absl::OkStatus();
  const std::optional<int32_t> end = AddedEnd(data, *written->chat);
  for (size_t i = 0; i < data.examples.size() && i < written->examples.size(); ++i) {
    const Example ours = data.examples[i], theirs = written->examples[i];
    if (ours.input_ids == theirs.input_ids && ours.labels == theirs.labels) continue;
    if (end && AddsEndsAlone(ours, theirs, *end)) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("data.chat_template ", source.task.chat.name, " writes ", ours.source,
                     " otherwise than the model's own template: ", ours.input_ids.size(),
                     " tokens, not ", theirs.input_ids.size(),
                     "; data.chat_template auto is its own (`fttrain data` shows both)"));
  }
  return absl::OkStatus();
}

// That some answer of conversations ends as answers end.
absl::Status CheckEnds(const Source& source, const TrainingData& data, const EndTokens& ends,
                       const DatasetStatistics& statistics) {
  const DatasetSummary& rows = statistics.summary;
  const int64_t learnt = rows.examples - statistics.cut_targets.examples;
  const bool looked_at = data.chat != nullptr && !ends.ends.empty() && learnt > 0;
  if (!looked_at || statistics.open_ends.examples < learnt) return absl::OkStatus();
  // What is the model's own cannot be advised again.
  const std::string why =
      source.task.chat.name == "auto"
          ? " writes none, though it is the model's own: set data.chat_template to one that does ("
          : " is a wrong one for this model: set data.chat_template to another (auto is the "
            "model's own, others are ";
  return absl::InvalidArgumentError(absl::StrCat(
      "no answer of the first ", Counted(rows.examples, "example"),
      " ends with a token that ends a turn or a text: the model would not learn to stop. Chat "
      "template ",
      data.chat->name(), why, BuiltinChatNames(), ")"));
}

std::string TextOf(const std::vector<DatasetReport>& files, const DatasetStatistics& statistics,
                   const ChatTemplate* chat) {
  int64_t rows = 0;
  for (const DatasetReport& file : files) rows += file.rows;
  const DatasetSummary& s = statistics.summary;
  return absl::StrCat(Counted(rows, "row"), " of ", FormatName(files.front().format),
                      files.size() > 1 ? " and more" : "", ", ", Counted(s.tokens, "token"), ", ",
                      WithCommas(s.targets), " learnt (", Share(s.targets, s.tokens), ")",
                      chat == nullptr ? "" : absl::StrCat(", template ", chat->name()));
}

// By the tokens of the rows that were read, and how many rows the files have.
void Foresee(const Source& source, const TrainingData& data, const DatasetSummary& summary,
             int world_size, RowsSeen& seen) {
  const config::RunConfig& run = source.loaded.config;
  const int64_t dp = world_size / (run.parallel().tensor() * run.parallel().pipeline());
  const int64_t a_step =
      run.train().micro_batch_size() * run.train().gradient_accumulation_steps() * dp;
  double read = 0, all = 0;  // an epoch has `all`
  DatasetOptions options;
  for (size_t i = 0; i < data.ends.size(); ++i) {  // those that are held out follow
    const absl::StatusOr<int64_t> rows = CountRows(data.files[i].spec, options);
    const auto rows_read = static_cast<double>(data.reports[i].rows);
    read += rows_read;
    all += data.files[i].spec.weight * (rows.ok() ? static_cast<double>(*rows) : rows_read);
  }
  const double more = all / read;
  seen.examples = static_cast<double>(summary.examples) * more;
  seen.epoch_tokens = static_cast<double>(summary.tokens) * more;
  const double row_tokens = source.rows.packing
                                ? std::min<double>(source.rows.sequence_len, seen.epoch_tokens)
                                : static_cast<double>(summary.tokens) / summary.rows;
  if (run.train().has_max_steps()) {
    seen.steps = run.train().max_steps();
    seen.tokens = static_cast<double>(seen.steps * a_step) * row_tokens;
    return;
  }
  seen.tokens = run.train().num_epochs() * seen.epoch_tokens;
  seen.steps =
      static_cast<int64_t>(std::ceil(seen.tokens / row_tokens / static_cast<double>(a_step)));
  if (run.schedule().warmup_steps() > seen.steps) {
    seen.warnings.push_back(absl::StrCat("schedule.warmup_steps ", run.schedule().warmup_steps(),
                                         " is longer than the run, which has about ",
                                         Counted(seen.steps, "step"), ": `train` refuses that"));
  }
}

}  // namespace

absl::StatusOr<RowsSeen> LookAtRows(config::LoadedConfig loaded, int world_size, int64_t count,
                                    const std::vector<std::string>& accepted) {
  FT_ASSIGN_OR_RETURN(const Source source, Resolve(std::move(loaded), world_size, count));
  RowsSeen seen;
  Judge judge(accepted, seen);
  absl::StatusOr<TrainingData> data = source.Read(source.task);
  // Ready-made tokens were made by who knows which.
  const bool uses_tokenizer = !data.ok() || data->tokenizer != nullptr;
  if (uses_tokenizer) FT_RETURN_IF_ERROR(judge("tokenizer", CheckTokenizer(source, seen)));
  FT_RETURN_IF_ERROR(data.status());
  FT_RETURN_IF_ERROR(judge("template", CheckTemplate(source, *data)));
  FT_ASSIGN_OR_RETURN(RowStream rows,
                      FromFile(RowStream::Create(data->examples, source.rows, PartsOf(*data))));
  const EndTokens ends = EndTokensOf(*data, source.task);
  const DatasetStatistics statistics = StatisticsOf(rows, /*rows_per_step=*/1, ends);
  FT_RETURN_IF_ERROR(judge("ends", CheckEnds(source, *data, ends, statistics)));
  for (DataWarning& warning : WarningsOf(statistics, data->reports, rows.examples(), data->notes,
                                         /*pad_is_eos=*/false)) {
    seen.warnings.push_back(std::move(warning.text));
  }
  seen.longest = statistics.summary.longest;
  seen.uses_template = data->chat != nullptr;
  seen.text = TextOf(data->reports, statistics, data->chat.get());
  Foresee(source, *data, statistics.summary, world_size, seen);
  return seen;
}

}  // namespace fttrain
