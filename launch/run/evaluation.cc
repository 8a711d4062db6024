#include "launch/run/evaluation.h"

#include "absl/strings/str_cat.h"
#include "data/text/example.h"
#include "launch/exit_code.h"
#include "launch/plan/paths.h"
#include "launch/run/build.h"
#include "launch/run/weights.h"
#include "model/files/adapter_config.h"
#include "model/linears/adapter_modules.h"
#include "nlohmann/json.hpp"
#include "runtime/process/check.h"

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

// No data parallelism, no dropout, and the adapter's own settings in place of the config's.
absl::StatusOr<EvaluationSetup> ReadEvaluation(const CommandLine& line, const Process& process) {
  EvaluationSetup setup;
  FT_ASSIGN_OR_RETURN(config::LoadedConfig loaded, EvaluationConfig(line));
  ExpandPaths(loaded.config);
  FT_RETURN_IF_ERROR(ResolveModelPath(loaded.config));
  config::RunConfig run = loaded.config;
  config::ParallelConfig& parallel = *run.mutable_parallel();
  parallel.set_tensor(process.world_size());
  parallel.set_pipeline(1);
  parallel.set_chunks_per_stage(1);
  parallel.clear_layers_per_stage();
  FT_ASSIGN_OR_RETURN(const ModelSpec model, ReadModel(run.model().path()));
  FT_ASSIGN_OR_RETURN(const Layout asked, LayoutOf(run, model, process.world_size()));
  setup.layout = {.mesh = asked.mesh,
                  .device = asked.device,
                  .sequence_parallel = asked.sequence_parallel,
                  .embedding = asked.embedding};
  FT_ASSIGN_OR_RETURN(setup.task, EvaluationTaskOf(loaded, model));
  FT_RETURN_IF_ERROR(CheckLayout(setup.task, setup.layout));
  FT_ASSIGN_OR_RETURN(setup.device, SelectDevice(setup.layout.device, process));
  setup.task.init_from = line.Get("adapter");
  if (!setup.task.init_from.empty()) {
    FT_ASSIGN_OR_RETURN(AdapterForm adapter, FromFile(ReadAdapterConfig(setup.task.init_from)));
    adapter.dropout = 0.0;
    const std::string config = AdapterConfigPath(setup.task.init_from);
    FT_RETURN_IF_ERROR(FromFile(CheckAdapter(model, adapter, config)));
    setup.task.form.adapter = std::move(adapter);
  }
  FT_RETURN_IF_ERROR(CheckWeightFiles(setup.task));
  return setup;
}

}  // namespace

absl::StatusOr<EvaluationSetup> PrepareEvaluation(const CommandLine& line, const Process& process) {
  absl::StatusOr<EvaluationSetup> setup = ReadEvaluation(line, process);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(setup.status()));
  return setup;
}

absl::StatusOr<std::unique_ptr<Network>> LoadForEvaluation(const EvaluationSetup& setup,
                                                           int64_t max_positions,
                                                           const Process& process) {
  FT_ASSIGN_OR_RETURN(std::unique_ptr<Network> network,
                      BuildNetwork(setup.task, setup.layout, {.trains = false}, max_positions,
                                   process, setup.device));
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
