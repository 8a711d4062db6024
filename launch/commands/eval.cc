#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "configs/validate_config.h"
#include "launch/commands/commands.h"
#include "launch/exit_code.h"
#include "launch/plan/output.h"
#include "launch/plan/paths.h"
#include "launch/run/evaluation.h"
#include "launch/run/held_out_loss.h"
#include "launch/run/numbers.h"
#include "launch/run/summary.h"
#include "launch/run/train_plan.h"
#include "launch/run/training_data.h"
#include "launch/run/weights.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

// A model to evaluate.
struct Subject {
  std::string name;
  Task task;
};

// What all subjects have in common.
struct Asked {
  config::LoadedConfig loaded;
  Layout layout;
  Output output;
  JobInputs inputs;
  std::vector<Subject> subjects;
};

std::string Quoted(const std::string& text) { return nlohmann::json(text).dump(); }

// Whether --model and --input stand in for a config.
bool IsWithoutConfig(const CommandLine& line) {
  return !line.Has("config") && line.Has("model") && line.Has("input");
}

// With the rows of --input in place of those that the run holds out.
absl::StatusOr<config::LoadedConfig> ConfigOf(const CommandLine& line) {
  CommandLine with = line;
  std::vector<std::string>& set = with.flags["set"];
  if (line.Has("model")) set.push_back(absl::StrCat("model.path=", Quoted(line.Get("model"))));
  if (line.Has("input")) {
    set.push_back(absl::StrCat("data.eval=[{path: ", Quoted(line.Get("input")), "}]"));
    set.emplace_back("data.eval_fraction=0");
  }
  if (!IsWithoutConfig(line)) return ReadRunConfig(with);
  // Keys that a run must have, of which none is used.
  set.push_back(absl::StrCat("data.train=[{path: ", Quoted(line.Get("input")), "}]"));
  FT_ASSIGN_OR_RETURN(
      config::LoadedConfig loaded,
      config::ParseRunConfig("{train: {max_steps: 1}, output_dir: .}", "command line", set));
  ExpandPaths(loaded.config);
  return loaded;
}

// The base, and the adapters of --adapter or what the run has left: its adapter, or its model.
absl::StatusOr<std::vector<Subject>> SubjectsOf(const CommandLine& line, const Asked& asked,
                                                const Task& base) {
  std::vector<Subject> subjects = {{"base", base}};
  std::vector<std::string> adapters = line.All("adapter");
  const bool trains_all = asked.loaded.config.adapter().method() == config::ADAPTER_METHOD_NONE;
  const std::string result = ResultFolder(asked.output.folder, trains_all);
  if (adapters.empty() && IsWithoutConfig(line)) {
    // The base alone.
  } else if (adapters.empty() && !std::filesystem::exists(result)) {
    LogInfo(
        absl::StrCat("note       the run has left no ", result, ": the base alone is evaluated"));
  } else if (adapters.empty() && trains_all) {
    Subject trained{result, base};
    trained.task.model_path = result;
    FT_ASSIGN_OR_RETURN(trained.task.model, ReadModel(result));
    subjects.push_back(std::move(trained));
  } else if (adapters.empty()) {
    adapters.push_back(result);
  }
  for (const std::string& folder : adapters) {
    FT_RETURN_IF_ERROR(UseAdapter(folder, subjects.emplace_back(Subject{folder, base}).task));
  }
  for (const Subject& subject : subjects) FT_RETURN_IF_ERROR(CheckWeightFiles(subject.task));
  return subjects;
}

absl::Status ReadRows(const Task& task, Asked& asked) {
  DataTask data_task = task.data;
  if (data_task.held_out_share == 0) data_task.files.clear();  // not needed
  if (data_task.held_out_share == 0 && data_task.held_out_files.empty()) {
    return absl::InvalidArgumentError(
        "there is nothing to evaluate: give --input=FILE, or data.eval or data.eval_fraction in "
        "the "
        "config");
  }
  FT_ASSIGN_OR_RETURN(TrainingData data,
                      ReadTrainingData(data_task, task.model_path, task.model.vocab_size,
                                       task.rows.sequence_len, {asked.output.token_cache}));
  LogInfo(FilesSummary(data.reports));
  FT_ASSIGN_OR_RETURN(asked.inputs.held_out,
                      FromFile(HeldOutRows(data_task, task.rows, task.rows_per_step, data)));
  if (asked.inputs.held_out) {
    LogInfo(HeldOutSummary(asked.inputs.held_out->summary(), task.rows.sequence_len, -1));
  }
  return CheckPositions(task.model, PositionsOf(task, asked.inputs), "the longest example has",
                        "set data.sequence_len to at most that, so that examples are cut");
}

absl::StatusOr<Asked> ReadAsked(const CommandLine& line, const Process& process) {
  Asked asked;
  FT_ASSIGN_OR_RETURN(asked.loaded, ConfigOf(line));
  FT_RETURN_IF_ERROR(config::Validate(asked.loaded, process.world_size()));
  FT_RETURN_IF_ERROR(ResolveModelPath(asked.loaded.config));
  FT_ASSIGN_OR_RETURN(const ModelSpec model, ReadModel(asked.loaded.config.model().path()));
  FT_ASSIGN_OR_RETURN(CheckedRun run, CheckRun(asked.loaded, model, process.world_size()));
  // Nothing of it is trained.
  FT_ASSIGN_OR_RETURN(const Task frozen, EvaluationTaskOf(asked.loaded, model));
  run.task.form = frozen.form;
  run.task.init_from.clear();
  asked.layout = std::move(run.layout);
  asked.output = OutputOf(asked.loaded.config);
  FT_ASSIGN_OR_RETURN(asked.inputs.device, SelectDevice(asked.layout.device, process));
  FT_ASSIGN_OR_RETURN(asked.subjects, SubjectsOf(line, asked, run.task));
  FT_RETURN_IF_ERROR(ReadRows(run.task, asked));
  return asked;
}

// Collective over the world; agrees on errors.
absl::StatusOr<HeldOutLoss> Evaluate(const Asked& asked, const Subject& subject,
                                     const Process& process) {
  const EvaluationSetup setup{subject.task, asked.layout, asked.output.scratch_folder,
                              asked.inputs.device};
  FT_ASSIGN_OR_RETURN(const std::unique_ptr<Network> network,
                      LoadForEvaluation(setup, PositionsOf(subject.task, asked.inputs), process));
  return EvaluateHeldOut(*network, *asked.inputs.held_out);
}

nlohmann::ordered_json ToJson(const std::string& name, const HeldOutLoss& found) {
  return {{"name", name},
          {"loss", found.loss},
          {"perplexity", found.Perplexity()},
          {"target_tokens", found.target_tokens},
          {"seconds", found.seconds}};
}

std::string Row(const std::string& name, const HeldOutLoss& found) {
  return absl::StrFormat("%9.4f%12.3f%15s%10.1f  %s", found.loss, found.Perplexity(),
                         WithCommas(found.target_tokens), found.seconds, name);
}

}  // namespace

absl::Status EvalCommand(const CommandLine& line, const Process& process) {
  if (line.Has("json")) SendInfoToStderr();
  absl::StatusOr<Asked> asked = ReadAsked(line, process);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(asked.status()));
  nlohmann::ordered_json all = nlohmann::ordered_json::array();
  if (!line.Has("json")) LogInfo("     loss  perplexity  target tokens   seconds  of");
  for (const Subject& subject : asked->subjects) {
    FT_ASSIGN_OR_RETURN(const HeldOutLoss found, Evaluate(*asked, subject, process));
    all.push_back(ToJson(subject.name, found));
    if (!line.Has("json")) LogInfo(Row(subject.name, found));
    process.Barrier();  // between hosts, what a rank has sent ends with its communicators
  }
  if (process.rank() == 0 && line.Has("json")) {
    const std::string text = all.dump(2) + "\n";
    std::fwrite(text.data(), 1, text.size(), stdout);
  }
  return absl::OkStatus();
}

}  // namespace fttrain
