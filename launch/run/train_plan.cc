#include "launch/run/train_plan.h"

#include <algorithm>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "configs/validate_config.h"
#include "launch/exit_code.h"
#include "launch/plan/adapter_form.h"
#include "launch/plan/base_form.h"
#include "launch/plan/paths.h"
#include "launch/run/output_folder.h"
#include "launch/run/samples.h"
#include "launch/run/summary.h"
#include "launch/run/training_data.h"
#include "launch/run/weights.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {

absl::StatusOr<config::LoadedConfig> ReadRunConfig(const CommandLine& line) {
  const std::string path = line.Has("config") ? line.Get("config") : "fttrain.yaml";
  if (!line.Has("config") && !std::filesystem::exists(path)) {
    const bool at_the_sources = std::filesystem::exists("configs/quickstart.yaml");
    return absl::InvalidArgumentError(absl::StrCat(
        "no config was given and there is no fttrain.yaml in this folder; ",
        at_the_sources ? "try 'mpirun -np 2 fttrain train configs/quickstart.yaml'"
                       : "'fttrain init --model=FOLDER --data=FILE > fttrain.yaml' writes one",
        ", or 'fttrain help'"));
  }
  FT_ASSIGN_OR_RETURN(config::LoadedConfig loaded, config::LoadRunConfig(path, line.All("set")));
  ExpandPaths(loaded.config);
  return loaded;
}

namespace {

// Inputs that the run would move away.
absl::Status CheckInputFolders(const Task& task, const Output& output) {
  FT_RETURN_IF_ERROR(CheckIsNotMoved("model.path", task.model_path, output.folder));
  if (!task.form.adapter || task.init_from.empty()) return absl::OkStatus();
  return CheckIsNotMoved("adapter.init_from", task.init_from, output.folder);
}

void SayData(const std::string& text) { LogInfo(absl::StrCat("data       ", text)); }

}  // namespace

absl::StatusOr<CheckedRun> CheckRun(const config::LoadedConfig& loaded, const ModelSpec& model,
                                    int world_size) {
  CheckedRun checked;
  FT_ASSIGN_OR_RETURN(checked.layout, LayoutOf(loaded.config, model, world_size));
  const Layout& layout = checked.layout;
  FT_ASSIGN_OR_RETURN(checked.task,
                      TaskOf(loaded, model, layout.micro_batch_rows * layout.mesh.size(kDataAxes)));
  FT_RETURN_IF_ERROR(CheckLayout(checked.task, layout));
  return checked;
}

absl::StatusOr<TrainPlan> MakeTrainPlan(config::LoadedConfig loaded, const Process& process,
                                        int64_t most_rows) {
  FT_RETURN_IF_ERROR(config::Validate(loaded, process.world_size()));
  TrainPlan plan;
  FT_RETURN_IF_ERROR(ResolveModelPath(loaded.config));
  FT_ASSIGN_OR_RETURN(const ModelSpec model, ReadModel(loaded.config.model().path()));
  for (const std::string& note : model.notes) LogInfo("note       " + note);
  FT_ASSIGN_OR_RETURN(CheckedRun checked, CheckRun(loaded, model, process.world_size()));
  plan.task = std::move(checked.task);
  plan.task.data.most_rows = most_rows;
  plan.layout = std::move(checked.layout);
  plan.output = OutputOf(loaded.config);
  plan.run = WithOwnTargets(loaded, model);
  RecordBaseForm(plan.task.form, plan.run);
  RecordRouterLoss(plan.task, plan.run);
  if (plan.task.form.adapter) RecordAdapterForm(*plan.task.form.adapter, plan.run);
  FT_ASSIGN_OR_RETURN(plan.inputs.device, SelectDevice(plan.layout.device, process));
  FT_RETURN_IF_ERROR(CheckInputFolders(plan.task, plan.output));
  FT_RETURN_IF_ERROR(CheckWeightFiles(plan.task));
  FT_ASSIGN_OR_RETURN(
      TrainingData data,
      ReadTrainingData(plan.task.data, plan.task.model_path, model.vocab_size,
                       plan.task.rows.sequence_len, {plan.output.token_cache, SayData}));
  for (const std::string& note : data.notes) LogInfo("note       " + note);
  LogInfo(FilesSummary(data.reports));
  FT_ASSIGN_OR_RETURN(plan.inputs.held_out, FromFile(HeldOutRows(plan.task.data, plan.task.rows,
                                                                 plan.task.rows_per_step, data)));
  FT_ASSIGN_OR_RETURN(
      plan.inputs.samples,
      ReadSamples(plan.output.sample_prompts, plan.output.sample_max_new_tokens, plan.task));
  FT_ASSIGN_OR_RETURN(plan.taught, FromFile(TaughtBy(data.examples, data.tokenizer.get(),
                                                     data.chat.get(), plan.task)));
  plan.file_ends = data.ends;
  FT_ASSIGN_OR_RETURN(RowStream rows, FromFile(RowStream::Create(data.examples, plan.task.rows,
                                                                 PartsOf(data), data.rows)));
  plan.inputs.rows = std::make_shared<RowStream>(std::move(rows));
  plan.inputs.scratch_folder = plan.output.scratch_folder;
  plan.inputs.timeout_seconds = plan.output.timeout_seconds;
  FT_RETURN_IF_ERROR(SetSteps(plan.task, *plan.inputs.rows));
  FT_RETURN_IF_ERROR(CheckWarmup(plan.task, plan.inputs.rows->summary(), loaded.where));
  FT_RETURN_IF_ERROR(CheckPositions(
      model, PositionsOf(plan.task, plan.inputs), "the longest example of the data has",
      "set data.sequence_len to at most that, so that examples are cut"));
  return plan;
}

}  // namespace fttrain
