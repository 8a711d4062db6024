#include "launch/run/network.h"

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "data/text/example.h"
#include "launch/exit_code.h"
#include "launch/plan/base_form.h"
#include "launch/plan/settings.h"
#include "launch/run/weights.h"
#include "model/config/checks.h"
#include "nlohmann/json.hpp"
#include "runtime/memory/mapped_file.h"
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

// No data parallelism, no dropout, and the adapter's own settings in place of the config's.
absl::StatusOr<EvaluationSetup> ReadEvaluation(const CommandLine& line, const Process& process) {
  EvaluationSetup setup;
  FT_ASSIGN_OR_RETURN(config::LoadedConfig loaded, EvaluationConfig(line));
  loaded.config.mutable_parallel()->set_tensor(process.world_size());
  loaded.config.mutable_parallel()->set_pipeline(1);
  FT_ASSIGN_OR_RETURN(setup.plan, PlanNetwork(loaded, /*training=*/false, process));
  setup.run = loaded.config;
  ModelOptions& options = setup.plan.options;
  options.train_base = false;
  options.adapter.reset();
  setup.adapter_folder = line.Get("adapter");
  if (!setup.adapter_folder.empty()) {
    FT_ASSIGN_OR_RETURN(AdapterForm adapter, FromFile(ReadAdapterConfig(setup.adapter_folder)));
    adapter.dropout = 0.0;
    FT_ASSIGN_OR_RETURN(adapter.target_modules,
                        ResolveTargetModules(setup.plan.model, adapter.target_modules));
    options.adapter = std::move(adapter);
  }
  return setup;
}

}  // namespace

absl::StatusOr<NetworkPlan> PlanNetwork(const config::LoadedConfig& loaded, bool training,
                                        const Process& process) {
  const config::RunConfig& run = loaded.config;
  NetworkPlan plan;
  plan.model_path = run.model().path();
  FT_ASSIGN_OR_RETURN(plan.mesh, MakeMeshShape(process.world_size(), run.parallel().tensor(),
                                               run.parallel().pipeline()));
  std::error_code ignored;
  if (!std::filesystem::is_directory(plan.model_path, ignored)) {
    return absl::NotFoundError(absl::StrCat(
        "model.path ", Printable(plan.model_path),
        ": no such folder; models are not downloaded, give the folder of one that is"));
  }
  FT_ASSIGN_OR_RETURN(plan.model, FromFile(LoadModelConfig(plan.model_path)));
  FT_RETURN_IF_ERROR(CheckTensorParallel(plan.model, plan.mesh.tp));
  FT_ASSIGN_OR_RETURN(plan.options, ModelOptionsOf(run, plan.model));
  FT_RETURN_IF_ERROR(SetBaseForm(loaded, plan.model_path, plan.model, training, plan.options));
  // Ranks beyond the host's GPUs share them; NCCL refuses that, so collectives then go over MPI.
  plan.share_gpu = GpuCount() > 0 && process.local_size() > GpuCount();
  FT_ASSIGN_OR_RETURN(plan.device, SelectDevice(DeviceOf(run), process, plan.share_gpu));
  return plan;
}

absl::Status CheckPositions(const ModelSpec& model, int64_t tokens, const std::string& what,
                            const std::string& remedy) {
  if (tokens <= model.max_position_embeddings) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(what, " ", tokens, " tokens, more than the model's max_position_embeddings ",
                   model.max_position_embeddings, "; ", remedy));
}

namespace {

// The hosts of a job may differ in what they have: one backend must do for all ranks.
absl::StatusOr<CommBackend> AgreeOnBackend(const NetworkPlan& plan, const Process& process) {
  const bool some_cuda = process.AnyRank(plan.device.is_cuda());
  if (some_cuda && process.AnyRank(!plan.device.is_cuda())) {
    return absl::FailedPreconditionError(
        "some ranks found a GPU and some did not; give every host one, or set device: cpu");
  }
  const bool share = process.AnyRank(plan.share_gpu);
  return some_cuda && !share ? CommBackend::kNccl : CommBackend::kMpi;
}

// One rank's disk may be full: its failure is a status that the others can be told.
absl::StatusOr<std::unique_ptr<ParameterStore>> MakeStore(Network& network,
                                                          const StorageOptions& storage) {
  try {
    return std::make_unique<ParameterStore>(network.parameters, *network.mesh, network.plan.device,
                                            storage);
  } catch (const MappedFileError& error) {
    return absl::UnavailableError(
        absl::StrCat("memory.base_weights disk: ", error.what_without_backtrace()));
  }
}

// Agrees on errors. Collective over the world.
absl::Status LinkStages(CommBackend backend, const Process& process, Network& network) {
  const NetworkPlan& plan = network.plan;
  const int64_t element = static_cast<int64_t>(c10::elementSize(plan.options.compute));
  const bool sharded = plan.options.sequence_parallel;
  const int64_t rows = plan.boundary_rows / (sharded ? plan.mesh.tp : 1) + 1;  // tp pads
  const bool ring =
      static_cast<int>(plan.options.layers_per_run.size()) > plan.mesh.pp && plan.mesh.pp > 1;
  FT_ASSIGN_OR_RETURN(network.links,
                      StageLinks::Create(backend, process, plan.mesh,
                                         {ring, rows * plan.model.hidden_size * element}));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<Network>> BuildNetwork(const NetworkPlan& plan,
                                                      const StorageOptions& storage,
                                                      int64_t max_positions,
                                                      const Process& process) {
  auto network = std::make_unique<Network>();
  network->plan = plan;
  FT_ASSIGN_OR_RETURN(const CommBackend backend, AgreeOnBackend(plan, process));
  FT_ASSIGN_OR_RETURN(network->mesh, Mesh::Create(backend, process, plan.mesh));
  FT_RETURN_IF_ERROR(LinkStages(backend, process, *network));
  network->declared = DeclareWholeModel(plan.model, plan.options);
  network->transformer = std::make_unique<Transformer>(
      plan.model, plan.options, *network->mesh, network->parameters, max_positions, plan.device);
  absl::StatusOr<std::unique_ptr<ParameterStore>> store = MakeStore(*network, storage);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(store.status()));
  network->store = *std::move(store);
  network->transformer->UseStore(*network->store);
  return network;
}

ModelBatch EvaluationBatch(const std::vector<int32_t>& input_ids, const NetworkPlan& plan) {
  const auto tokens = static_cast<int32_t>(input_ids.size());
  return MakeModelBatch(input_ids, std::vector<int32_t>(tokens, kNoTarget), {0, tokens},
                        std::vector<int64_t>(tokens), /*step_key=*/0, plan.mesh.tp, plan.device);
}

absl::StatusOr<EvaluationSetup> PrepareEvaluation(const CommandLine& line, const Process& process) {
  absl::StatusOr<EvaluationSetup> setup = ReadEvaluation(line, process);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(setup.status()));
  return setup;
}

absl::StatusOr<std::unique_ptr<Network>> LoadForEvaluation(const EvaluationSetup& setup,
                                                           int64_t max_positions,
                                                           const Process& process) {
  const NetworkPlan& plan = setup.plan;
  FT_ASSIGN_OR_RETURN(std::unique_ptr<Network> network,
                      BuildNetwork(plan, {.trains = false}, max_positions, process));
  absl::Status loaded =
      LoadBaseWeights(*network->store, plan.model_path, plan.model, plan.options.nf4);
  if (loaded.ok() && !setup.adapter_folder.empty()) {
    loaded = LoadAdapter(*network->store, plan.model, setup.adapter_folder, *plan.options.adapter);
  }
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(FromFile(loaded)));
  return network;
}

}  // namespace fttrain
