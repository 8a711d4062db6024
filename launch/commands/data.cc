#include <algorithm>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "configs/validate_config.h"
#include "data/chat/source.h"
#include "launch/commands/color.h"
#include "launch/commands/commands.h"
#include "launch/exit_code.h"
#include "launch/plan/paths.h"
#include "launch/report/data_report.h"
#include "launch/run/train_plan.h"
#include "launch/run/training_data.h"
#include "model/config/checks.h"
#include "nlohmann/json.hpp"
#include "runtime/files/whole_file.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

// What the command line asks for, beside the config.
struct Shown {
  int64_t count = 0;     // -n
  int64_t example = -1;  // from 0; -1: none was named
  std::string find;
  TextForm form;
  bool json = false;
  std::string html;
};

absl::StatusOr<Shown> ParseShown(const CommandLine& line) {
  Shown shown;
  FT_ASSIGN_OR_RETURN(
      shown.count, line.Number<int64_t>(
                       "n", [](int64_t n) { return n >= 0; }, "a number of examples, at least 0"));
  if (line.Has("example")) {
    FT_ASSIGN_OR_RETURN(shown.example, line.Number<int64_t>(
                                           "example", [](int64_t n) { return n >= 1; },
                                           "the number of an example, from 1"));
    --shown.example;
  }
  shown.find = line.Get("find");
  if (line.Has("example") && line.Has("find")) {
    return absl::InvalidArgumentError("--example names one and --find looks for some: give one");
  }
  FT_ASSIGN_OR_RETURN(const bool colors, WantsColor(line));
  shown.form = {colors ? LearntAs::kColor : LearntAs::kMarks, line.Has("ids")};
  shown.html = line.Get("html");
  shown.json = line.Has("json");
  for (const char* flag : {"n", "example", "find", "ids", "color"}) {
    if (shown.json && line.Has(flag) && shown.html.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("--json prints no examples, so --", flag, " has no meaning with it"));
    }
  }
  return shown;
}

std::string Quoted(const std::string& text) { return nlohmann::json(text).dump(); }

// The run's config; with --model and --input one that has nothing else will do.
absl::StatusOr<config::LoadedConfig> ConfigOf(const CommandLine& line) {
  CommandLine with = line;
  std::vector<std::string>& set = with.flags["set"];
  if (line.Has("model")) set.push_back(absl::StrCat("model.path=", Quoted(line.Get("model"))));
  if (line.Has("input")) {
    set.push_back(absl::StrCat("data.train=[{path: ", Quoted(line.Get("input")), "}]"));
  }
  if (line.Has("config") || !line.Has("model") || !line.Has("input")) return ReadRunConfig(with);
  FT_ASSIGN_OR_RETURN(config::LoadedConfig loaded,
                      config::ParseRunConfig("{train: {num_epochs: 1}, output_dir: runs/data}",
                                             "command line", set));
  ExpandPaths(loaded.config);
  return loaded;
}

struct Asked {
  config::LoadedConfig loaded;
  StepShape step;
};

absl::StatusOr<Asked> ReadAsked(const CommandLine& line) {
  Asked asked;
  FT_ASSIGN_OR_RETURN(asked.loaded, ConfigOf(line));
  const config::RunConfig& run = asked.loaded.config;
  const int group = run.parallel().tensor() * run.parallel().pipeline();
  int64_t ranks = int64_t{group} * run.parallel().expert();
  if (line.Has("ranks")) {
    FT_ASSIGN_OR_RETURN(ranks, line.Number<int64_t>(
                                   "ranks", [](int64_t n) { return n >= 1 && n <= 1 << 20; },
                                   "a number of ranks, at least 1"));
  }
  FT_RETURN_IF_ERROR(config::Validate(asked.loaded, static_cast<int>(ranks)));
  FT_RETURN_IF_ERROR(ResolveModelPath(asked.loaded.config));
  asked.step = {run.train().micro_batch_size(), run.train().gradient_accumulation_steps(),
                ranks / group};
  return asked;
}

// What is known of the model without weights. A folder with a tokenizer alone has rows to show,
// too.
struct KnownModel {
  std::optional<ModelSpec> spec;
  std::string note;
};

absl::StatusOr<KnownModel> LookAtModel(const std::string& folder) {
  absl::StatusOr<ModelSpec> model = ReadModel(folder);
  if (model.ok()) return KnownModel{*std::move(model), ""};
  std::error_code ignored;
  if (!std::filesystem::is_directory(folder, ignored)) return model.status();
  return KnownModel{std::nullopt, absl::StrCat("the model cannot be trained as it is: ",
                                               model.status().message())};
}

bool PadIsEos(const std::string& folder) {
  const auto tokens = SpecialTokens(folder);
  if (!tokens.ok() || tokens->count("pad_token") == 0 || tokens->count("eos_token") == 0) {
    return false;
  }
  return tokens->at("pad_token") == tokens->at("eos_token");
}

// Indices of the examples to show. `ends` are those of the files.
absl::StatusOr<std::vector<int64_t>> Choose(const Shown& shown, const ExampleList& examples,
                                            absl::Span<const int64_t> ends,
                                            const Tokenizer* tokenizer) {
  const auto count = static_cast<int64_t>(examples.size());
  if (shown.example >= count) {
    return absl::InvalidArgumentError(
        absl::StrCat("--example=", shown.example + 1, ": there are ", count, " examples"));
  }
  if (shown.example >= 0) return std::vector<int64_t>{shown.example};
  std::vector<int64_t> chosen;
  if (shown.find.empty()) {
    int64_t begin = 0;
    for (const int64_t end : ends) {
      for (int64_t i = begin; i < std::min(end, begin + shown.count); ++i) chosen.push_back(i);
      begin = end;
    }
    return chosen;
  }
  if (tokenizer == nullptr) {
    return absl::InvalidArgumentError("--find: there is no tokenizer to turn tokens into text");
  }
  for (int64_t i = 0; i < count && static_cast<int64_t>(chosen.size()) < shown.count; ++i) {
    const std::string text =
        tokenizer->Decode(examples[static_cast<size_t>(i)].input_ids, /*skip_special=*/false);
    if (absl::StrContains(text, shown.find)) chosen.push_back(i);
  }
  if (chosen.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("--find=", Printable(shown.find), ": no example has this text"));
  }
  return chosen;
}

void CountSteps(const config::TrainConfig& train, RowStream& rows, DataReport& report) {
  const int64_t a_step = report.step.rows_per_step();
  if (train.has_max_steps()) {
    report.steps = train.max_steps();
    report.epochs = static_cast<double>(report.steps) * static_cast<double>(a_step) /
                    static_cast<double>(rows.RowsInEpoch(0));
  } else {
    report.steps = rows.EndAfterEpochs(train.num_epochs(), a_step);
    report.epochs = train.num_epochs();
  }
  report.last_step_rows = RowsOfStep(rows.summary(), report.steps - 1, a_step);
}

// JSON is for programs: nothing else is printed with it.
CacheChoice CacheOf(const config::RunConfig& run, const Shown& shown) {
  CacheChoice choice{run.data().cache_dir()};
  if (!shown.json) {
    choice.say = [](const std::string& text) { LogInfo(absl::StrCat("data       ", text)); };
  }
  return choice;
}

absl::StatusOr<DataReport> MakeReport(const Asked& asked, const Shown& shown) {
  const config::RunConfig& run = asked.loaded.config;
  DataReport report;
  report.model_path = run.model().path();
  report.rows = RowOptionsOf(asked.loaded);
  report.step = asked.step;
  const DataTask task = DataTaskOf(asked.loaded);
  FT_ASSIGN_OR_RETURN(const KnownModel model, LookAtModel(report.model_path));
  FT_ASSIGN_OR_RETURN(
      TrainingData data,
      ReadTrainingData(task, report.model_path, model.spec ? model.spec->vocab_size : 0,
                       report.rows.sequence_len, CacheOf(run, shown)));
  if (data.chat != nullptr) report.chat_template = data.chat->name();
  if (!model.note.empty()) data.notes.push_back(model.note);
  FT_ASSIGN_OR_RETURN(const std::shared_ptr<RowStream> held_out,
                      FromFile(HeldOutRows(task, report.rows, asked.step.rows_per_step(), data)));
  if (held_out != nullptr) report.held_out = held_out->summary();
  FT_ASSIGN_OR_RETURN(RowStream rows, FromFile(RowStream::Create(data.examples, report.rows,
                                                                 PartsOf(data), data.rows)));
  if (model.spec) {
    const absl::Status positions =
        CheckPositions(*model.spec, std::min(report.rows.sequence_len, rows.summary().longest),
                       "the longest example has", "set data.sequence_len to at most that");
    if (!positions.ok()) data.notes.emplace_back(positions.message());
  }
  // Ready-made tokens are shown as text where the folder has a tokenizer.
  if (data.tokenizer == nullptr) {
    absl::StatusOr<std::unique_ptr<Tokenizer>> found = Tokenizer::Load(report.model_path);
    if (found.ok()) data.tokenizer = *std::move(found);
  }
  report.statistics = StatisticsOf(rows, asked.step.rows_per_step(), EndTokensOf(data, task));
  CountSteps(run.train(), rows, report);
  report.files = std::move(data.reports);
  report.warnings = WarningsOf(report.statistics, report.files, rows.examples(), data.notes,
                               PadIsEos(report.model_path));
  FT_ASSIGN_OR_RETURN(const std::vector<int64_t> chosen,
                      Choose(shown, rows.examples(), data.ends, data.tokenizer.get()));
  for (const int64_t i : chosen) {
    report.examples.push_back(Show(rows.examples()[static_cast<size_t>(i)], i,
                                   report.rows.sequence_len, data.tokenizer.get()));
  }
  return report;
}

}  // namespace

absl::Status DataCommand(const CommandLine& line, const Process& process) {
  if (process.world_size() > 1) {
    return absl::InvalidArgumentError(absl::StrCat(
        "'data' runs in one process: leave out mpirun, and write --ranks=", process.world_size(),
        " to count a step's rows for so many"));
  }
  FT_ASSIGN_OR_RETURN(const Shown shown, ParseShown(line));
  FT_ASSIGN_OR_RETURN(const Asked asked, ReadAsked(line));
  FT_ASSIGN_OR_RETURN(const DataReport report, MakeReport(asked, shown));
  if (!shown.html.empty()) FT_RETURN_IF_ERROR(WriteFileAtomically(shown.html, DataPage(report)));
  LogInfo(shown.json ? DataJson(report) : DataText(report, shown.form));
  if (!shown.html.empty() && !shown.json) LogInfo(absl::StrCat("\nsaved      ", shown.html));
  return absl::OkStatus();
}

}  // namespace fttrain
