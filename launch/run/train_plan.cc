#include "launch/run/train_plan.h"

#include <algorithm>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "configs/validate_config.h"
#include "launch/exit_code.h"
#include "launch/plan/base_form.h"
#include "launch/plan/settings.h"
#include "launch/run/output_folder.h"
#include "launch/run/summary.h"
#include "launch/run/weights.h"
#include "runtime/process/check.h"

namespace fttrain {

absl::StatusOr<config::LoadedConfig> ReadRunConfig(const CommandLine& line) {
  const std::string path = line.Has("config") ? line.Get("config") : "fttrain.yaml";
  if (!line.Has("config") && !std::filesystem::exists(path)) {
    return absl::InvalidArgumentError(
        "no config was given and there is no fttrain.yaml in this folder; try 'fttrain train "
        "configs/quickstart.yaml', or 'fttrain help'");
  }
  return config::LoadRunConfig(path, line.All("set"));
}

namespace {

absl::StatusOr<std::vector<Example>> ReadData(const config::RunConfig& run,
                                              const ModelSpec& model) {
  DatasetOptions options;
  options.vocab_size = model.vocab_size;
  // Rows of ready-made tokens need neither tokenizer nor template, so a folder without them will
  // do.
  bool needs_text = false, needs_chat = false;
  for (const config::DataSource& source : run.data().train()) {
    const FormatNeeds needs = NeedsOf(RowFormatOf(source.format()));
    needs_text |= needs.tokenizer;
    needs_chat |= needs.chat;
  }
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<ChatTemplate> chat;
  if (needs_text) {
    FT_ASSIGN_OR_RETURN(tokenizer, FromFile(Tokenizer::Load(run.model().path())));
    FT_RETURN_IF_ERROR(FromFile(CheckTokenizerFits(*tokenizer, model.vocab_size)));
    options.tokenizer = tokenizer.get();
  }
  if (needs_chat) {
    FT_ASSIGN_OR_RETURN(ChatTemplate made,
                        ChatTemplate::Create(ChatFormOf(run), run.model().path(), *tokenizer));
    chat = std::make_unique<ChatTemplate>(std::move(made));
    options.chat = chat.get();
  }
  std::vector<Example> examples;
  for (const config::DataSource& source : run.data().train()) {
    FT_ASSIGN_OR_RETURN(
        std::vector<Example> more,
        FromFile(LoadExamples({source.path(), RowFormatOf(source.format())}, options)));
    std::move(more.begin(), more.end(), std::back_inserter(examples));
  }
  return examples;
}

// What can be refused about adapter.init_from without its tensors, and inputs that the run would
// move away.
absl::Status CheckInputFolders(const TrainPlan& plan) {
  const config::RunConfig& run = plan.run;
  FT_RETURN_IF_ERROR(CheckIsNotMoved("model.path", run.model().path(), run.output_dir()));
  if (!run.adapter().has_init_from()) return absl::OkStatus();
  const std::string& folder = run.adapter().init_from();
  FT_RETURN_IF_ERROR(CheckIsNotMoved("adapter.init_from", folder, run.output_dir()));
  FT_ASSIGN_OR_RETURN(const AdapterForm saved, FromFile(ReadAdapterConfig(folder)));
  return FromFile(CompareAdapterConfigs(folder, saved, *plan.network.options.adapter));
}

}  // namespace

absl::Status PlanLayout(TrainPlan& plan) {
  NetworkPlan& network = plan.network;
  ModelOptions& options = network.options;
  FT_ASSIGN_OR_RETURN(const ModelOptions asked, ModelOptionsOf(plan.run, network.model));
  options.sequence_parallel = asked.sequence_parallel;
  options.recompute = asked.recompute;
  options.activations_on_host = asked.activations_on_host;
  options.embedding_on_host = plan.run.memory().embedding() == config::EMBEDDING_PLACE_HOST;
  options.weights_stay = WeightsStay(plan.run);
  FT_ASSIGN_OR_RETURN(options.layers_per_run, LayersPerRunOf(plan.run, network.model));
  network.boundary_rows =
      int64_t{plan.run.train().micro_batch_size()} * plan.run.data().sequence_len();
  plan.trainer.shape = StepShapeOf(plan.run, network.mesh.dp);
  plan.trainer.pipeline = PipelineKindOf(plan.run);
  if (plan.trainer.pipeline != PipelineKind::kInterleaved) return absl::OkStatus();
  return CheckInterleaved(network.mesh.pp, plan.run.parallel().chunks_per_stage(),
                          plan.run.train().gradient_accumulation_steps());
}

absl::Status MakeTrainPlan(const config::LoadedConfig& loaded, const Process& process,
                           TrainPlan& plan) {
  FT_RETURN_IF_ERROR(config::Validate(loaded, process.world_size()));
  plan.run = loaded.config;
  FT_ASSIGN_OR_RETURN(plan.network, PlanNetwork(loaded, /*training=*/true, process));
  RecordBaseForm(plan.network.options, plan.run);
  FT_RETURN_IF_ERROR(PlanLayout(plan));
  plan.scratch_folder = plan.run.output_dir();
  FT_RETURN_IF_ERROR(CheckInputFolders(plan));
  FT_ASSIGN_OR_RETURN(plan.examples, ReadData(plan.run, plan.network.model));
  FT_ASSIGN_OR_RETURN(RowStream rows,
                      FromFile(RowStream::Create(&plan.examples, RowOptionsOf(plan.run))));
  plan.rows = std::make_unique<RowStream>(std::move(rows));
  plan.positions = std::min<int64_t>(plan.run.data().sequence_len(), plan.rows->summary().longest);
  FT_RETURN_IF_ERROR(
      CheckPositions(plan.network.model, plan.positions, "the longest example of data.train has",
                     "set data.sequence_len to at most that, so that examples are cut"));

  TrainerOptions& trainer = plan.trainer;
  trainer.steps =
      plan.run.train().has_max_steps()
          ? plan.run.train().max_steps()
          : plan.rows->StepsForEpochs(plan.run.train().num_epochs(), trainer.shape.rows_per_step());
  trainer.schedule = LrScheduleOf(plan.run, trainer.steps);
  trainer.max_grad_norm = plan.run.optimizer().max_grad_norm();
  trainer.seed = static_cast<uint64_t>(plan.run.train().seed());
  return absl::OkStatus();
}

namespace {

// Agrees on errors. Collective over the mesh.
absl::Status LoadWeights(const TrainPlan& plan, Network& network, const Process& process) {
  const absl::Status base = LoadBaseWeights(*network.store, plan.network.model_path,
                                            plan.network.model, plan.network.options.nf4);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(FromFile(base)));
  if (!plan.network.options.adapter) return absl::OkStatus();
  if (plan.run.adapter().has_init_from()) {
    const absl::Status adapter =
        LoadAdapter(*network.store, plan.network.model, plan.run.adapter().init_from(),
                    *plan.network.options.adapter);
    return process.AgreeOnStatus(FromFile(adapter));
  }
  const auto initialize = [&](const std::vector<Parameter*>& parameters) {
    InitializeAdapters(parameters, plan.trainer.seed);
    return absl::OkStatus();
  };
  return network.store->Write(initialize, ParameterStore::Values::kTrainable);
}

}  // namespace

absl::StatusOr<TrainingRun> BuildTrainingRun(const TrainPlan& plan, const Process& process) {
  TrainingRun run;
  StorageOptions storage = StorageOptionsOf(plan.run);
  storage.disk_folder = plan.scratch_folder;
  FT_ASSIGN_OR_RETURN(run.network, BuildNetwork(plan.network, storage, plan.positions, process));
  run.optimizer = std::make_unique<Optimizer>(*run.network->store, AdamWOptionsOf(plan.run));
  FT_RETURN_IF_ERROR(LoadWeights(plan, *run.network, process));
  run.optimizer->MastersFromParameters();
  return run;
}

Trainer MakeTrainer(const TrainPlan& plan, TrainingRun& run) {
  return Trainer(plan.trainer, *run.network->mesh, *run.network->links, plan.network.device,
                 *plan.rows, *run.network->transformer, *run.optimizer);
}

std::string StartSummary(const TrainPlan& plan, const TrainingRun& run) {
  return StartSummary(plan.network, CountParameters(run.network->declared), plan.rows->summary(),
                      plan.trainer, plan.run.data().sequence_len(),
                      plan.run.parallel().zero_stage());
}

}  // namespace fttrain
