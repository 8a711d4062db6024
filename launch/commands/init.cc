#include <algorithm>
#include <cstdio>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "configs/validate_config.h"
#include "launch/as_started.h"
#include "launch/commands/commands.h"
#include "launch/init/choose_layout.h"
#include "launch/init/fit_to_rows.h"
#include "launch/init/starter.h"
#include "launch/plan/paths.h"
#include "launch/run/network.h"
#include "launch/run/planned_model.h"
#include "launch/run/train_plan.h"
#include "model/linears/module_names.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

std::string LastName(const std::string& path) {
  std::filesystem::path name(path);
  if (!name.has_filename()) name = name.parent_path();
  return name.filename().string();
}

absl::StatusOr<Starter> FromFlags(const CommandLine& line) {
  if (!line.Has("model") || !line.Has("data")) {
    return absl::InvalidArgumentError(
        "'init' needs --model=FOLDER and --data=FILE: fttrain init --model=models/m "
        "--method=qlora --data=train.jsonl > run.yaml");
  }
  Starter starter;
  starter.model = line.Get("model");
  starter.data = line.Get("data");
  const std::string method = line.Get("method");
  if (method != "lora" && method != "qlora" && method != "full" && method != "none") {
    return absl::InvalidArgumentError(
        absl::StrCat("--method=", Printable(method), ": must be lora, qlora or full"));
  }
  starter.method = method == "full" ? "none" : method;
  starter.sequence_len = 0;  // by the rows
  if (line.Has("sequence_len")) {
    FT_ASSIGN_OR_RETURN(starter.sequence_len,
                        line.Number<int64_t>(
                            "sequence_len", [](int64_t n) { return n >= 2 && n <= 1 << 24; },
                            "a number of tokens, at least 2"));
  }
  starter.output_dir = line.Has("output_dir")
                           ? line.Get("output_dir")
                           : absl::StrCat("runs/", LastName(starter.model), "-",
                                          starter.method == "none" ? "full" : starter.method);
  return starter;
}

// The config as a run of `ranks` ranks would load it.
absl::StatusOr<CheckedRun> Checked(const Starter& starter, const std::string& folder,
                                   const ModelSpec& model) {
  FT_ASSIGN_OR_RETURN(config::LoadedConfig loaded,
                      config::ParseRunConfig(StarterYaml(starter), "run.yaml", {}));
  ExpandPaths(loaded.config);
  loaded.config.mutable_model()->set_path(folder);
  FT_RETURN_IF_ERROR(config::Validate(loaded, starter.ranks));
  return CheckRun(loaded, model, starter.ranks);
}

absl::StatusOr<std::string> ConfigFor(const CommandLine& line) {
  FT_ASSIGN_OR_RETURN(Starter starter, FromFlags(line));
  FT_ASSIGN_OR_RETURN(const PlannedModel planned, ModelToPlan(starter.model));
  const std::string& folder = planned.path;
  const ModelSpec& model = planned.spec;
  if (HasExperts(model)) {
    starter.target_modules = absl::StrCat("[", absl::StrJoin(LinearLeaves(model), ", "), "]");
  }
  if (planned.from_table) {
    LogInfo(absl::StrCat("note       there is no folder ", starter.model,
                         ": rows are not looked at, and the sizes are those of ", folder));
    FT_RETURN_IF_ERROR(FitToFile(model, starter));
  } else {
    FT_RETURN_IF_ERROR(FitToRows(folder, model, starter));
  }
  FT_RETURN_IF_ERROR(CheckPositions(model, std::min(starter.sequence_len, starter.longest),
                                    "the longest of the first rows has",
                                    "give a --sequence_len of at most that, so that rows are cut"));
  FT_ASSIGN_OR_RETURN(const CheckedRun plain, Checked(starter, folder, model));
  const std::string positions = PositionsNote(model, plain.task.rows);
  if (!positions.empty()) LogInfo(absl::StrCat("note       ", positions));
  FT_ASSIGN_OR_RETURN(ChosenLayout layout, ChooseLayout(plain.task, plain.layout, line.Get("rig")));
  starter.ranks = layout.ranks;
  starter.layout = std::move(layout.keys);
  starter.layout_why = std::move(layout.why);
  FT_RETURN_IF_ERROR(Checked(starter, folder, model).status());
  return StarterYaml(starter);
}

}  // namespace

absl::Status InitCommand(const CommandLine& line, const Process& process) {
  if (process.rank() > 0) return absl::OkStatus();
  SendInfoToStderr();  // stdout is the config
  FT_ASSIGN_OR_RETURN(const std::string config, ConfigFor(line));
  const std::string text = AsStarted(config);
  std::fwrite(text.data(), 1, text.size(), stdout);
  return absl::OkStatus();
}

}  // namespace fttrain
