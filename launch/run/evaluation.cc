#include "launch/run/evaluation.h"

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "data/text/example.h"
#include "launch/exit_code.h"
#include "launch/plan/output.h"
#include "launch/plan/paths.h"
#include "launch/run/build.h"
#include "launch/run/weights.h"
#include "model/files/adapter_config.h"
#include "model/linears/adapter_modules.h"
#include "nlohmann/json.hpp"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

absl::StatusOr<config::LoadedConfig> EvaluationConfig(const CommandLine& line) {
  std::vector<std::string> overrides = line.All("set");
  if (line.Has("model")) {
    overrides.push_back(absl::StrCat("model.path=", nlohmann::json(line.Get("model")).dump()));
  }
  if (line.Has("config")) {
    return config::LoadRunConfig(line.Get("config"), overrides);
  }
  if (!line.Has("model")) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", line.command, "' needs --model=FOLDER or --config=FILE"));
  }
  return config::ParseRunConfig("{}", "command line", overrides);
}

// One tensor-parallel group.
absl::StatusOr<Layout> OneGroup(config::RunConfig run, const ModelSpec& model, int ranks) {
  config::ParallelConfig& parallel = *run.mutable_parallel();
  parallel.set_tensor(ranks);
  parallel.set_pipeline(1);
  parallel.set_chunks_per_stage(1);
  parallel.set_expert(1);
  parallel.clear_layers_per_stage();
  FT_ASSIGN_OR_RETURN(const Layout asked, LayoutOf(run, model, ranks));
  return Layout{.mesh = asked.mesh,
                .device = asked.device,
                .sequence_parallel = asked.sequence_parallel,
                .embedding = asked.embedding};
}

// As the config's run, without what training alone asks for. Of one token a document there is no
// sequence to divide.
absl::StatusOr<Layout> LayoutOfRun(const config::RunConfig& run, const ModelSpec& model,
                                   int ranks) {
  FT_ASSIGN_OR_RETURN(Layout layout, LayoutOf(run, model, ranks));
  layout.sequence_parallel = false;
  layout.recompute = Recompute::kNone;
  layout.activations = Place::kDevice;
  layout.micro_batch_rows = 1;
  if (layout.schedule != PipelineKind::kLayerMajor) {
    layout.schedule = PipelineKind::kOneForwardOneBackward;  // of its backwards there are none
  }
  return layout;
}

// What the run has left, if anything.
absl::Status UseResult(const config::RunConfig& run, Task& task) {
  const bool trains_all = run.adapter().method() == config::ADAPTER_METHOD_NONE;
  const std::string result = ResultFolder(run.output_dir(), trains_all);
  if (!std::filesystem::exists(result)) {
    LogInfo(absl::StrCat("note       the run has left no ", result, ": the base alone answers"));
    return absl::OkStatus();
  }
  LogInfo(absl::StrCat("note       the run's own ", trains_all ? "model" : "adapter", ", ", result,
                       ", answers"));
  if (!trains_all) return UseAdapter(result, task);
  task.model_path = result;
  FT_ASSIGN_OR_RETURN(task.model, ReadModel(result));
  return absl::OkStatus();
}

absl::StatusOr<EvaluationSetup> ReadEvaluation(const CommandLine& line, const Process& process,
                                               bool generates) {
  EvaluationSetup setup;
  FT_ASSIGN_OR_RETURN(config::LoadedConfig loaded, EvaluationConfig(line));
  ExpandPaths(loaded.config);
  FT_RETURN_IF_ERROR(ResolveModelPath(loaded.config));
  const config::RunConfig& run = loaded.config;
  const bool of_run = generates && line.Has("config");
  FT_ASSIGN_OR_RETURN(const ModelSpec model, ReadModel(run.model().path()));
  FT_ASSIGN_OR_RETURN(setup.layout, of_run ? LayoutOfRun(run, model, process.world_size())
                                           : OneGroup(run, model, process.world_size()));
  if (generates) setup.layout.sequence_parallel = false;
  setup.scratch_folder = OutputOf(run).scratch_folder;
  FT_ASSIGN_OR_RETURN(setup.task, EvaluationTaskOf(loaded, model));
  FT_RETURN_IF_ERROR(CheckLayout(setup.task, setup.layout));
  FT_ASSIGN_OR_RETURN(setup.device, SelectDevice(setup.layout.device, process));
  if (line.Has("adapter")) {
    FT_RETURN_IF_ERROR(UseAdapter(line.Get("adapter"), setup.task));
  } else if (of_run) {
    FT_RETURN_IF_ERROR(UseResult(run, setup.task));
  }
  FT_RETURN_IF_ERROR(CheckWeightFiles(setup.task));
  return setup;
}

}  // namespace

absl::Status UseAdapter(const std::string& folder, Task& task) {
  task.init_from = folder;
  FT_ASSIGN_OR_RETURN(AdapterForm adapter, FromFile(ReadAdapterConfig(folder)));
  adapter.dropout = 0.0;
  FT_RETURN_IF_ERROR(FromFile(CheckAdapter(task.model, adapter, AdapterConfigPath(folder))));
  task.form.adapter = std::move(adapter);
  return absl::OkStatus();
}

absl::StatusOr<EvaluationSetup> PrepareEvaluation(const CommandLine& line, const Process& process) {
  absl::StatusOr<EvaluationSetup> setup = ReadEvaluation(line, process, /*generates=*/false);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(setup.status()));
  return setup;
}

absl::StatusOr<EvaluationSetup> PrepareGeneration(const CommandLine& line, const Process& process) {
  absl::StatusOr<EvaluationSetup> setup = ReadEvaluation(line, process, /*generates=*/true);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(setup.status()));
  return setup;
}

absl::StatusOr<std::unique_ptr<Network>> LoadForEvaluation(const EvaluationSetup& setup,
                                                           int64_t max_positions,
                                                           const Process& process) {
  const StorageOptions storage{.zero_stage = setup.layout.zero_stage,
                               .frozen = setup.layout.frozen,
                               .disk_folder = setup.scratch_folder,
                               .trains = false};
  FT_ASSIGN_OR_RETURN(
      std::unique_ptr<Network> network,
      BuildNetwork(setup.task, setup.layout, storage, max_positions, process, setup.device));
  FT_RETURN_IF_ERROR(WeightsFromFiles()(*network, process));
  return network;
}

ModelBatch EvaluationBatch(const std::vector<int32_t>& input_ids, const EvaluationSetup& setup) {
  const auto tokens = static_cast<int32_t>(input_ids.size());
  return MakeModelBatch(input_ids, std::vector<int32_t>(tokens, kNoTarget), {0, tokens},
                        std::vector<int64_t>(tokens), /*step_key=*/0, setup.layout.mesh.tp,
                        setup.device);
}

}  // namespace fttrain
