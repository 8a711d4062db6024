#include <ATen/ATen.h>

#include <algorithm>
#include <filesystem>

#include "absl/strings/str_cat.h"
#include "configs/load_config.h"
#include "configs/to_yaml.h"
#include "configs/validate_config.h"
#include "data/dataset.h"
#include "launch/base_form.h"
#include "launch/commands.h"
#include "launch/exit_code.h"
#include "launch/network.h"
#include "launch/output_folder.h"
#include "launch/settings.h"
#include "launch/summary.h"
#include "launch/trainer.h"
#include "launch/weights.h"
#include "runtime/check.h"
#include "runtime/file_io.h"
#include "runtime/log.h"
#include "runtime/memory_ledger.h"

namespace fttrain {
namespace {

// Everything read and checked before the first collective.
struct TrainPlan {
  config::RunConfig run;
  NetworkPlan network;
  std::vector<Example> examples;
  std::unique_ptr<RowStream> rows;
  int64_t positions = 0;  // of the longest document
  TrainerOptions trainer;
  AdapterConfig adapter;  // with adapter.method lora and qlora
};

absl::StatusOr<config::LoadedConfig> ReadConfig(const CommandLine& line) {
  constexpr char kDefault[] = "fttrain.yaml";
  if (!line.Has("config") && !std::filesystem::exists(kDefault)) {
    return absl::InvalidArgumentError(
        "no --config=FILE was given and there is no fttrain.yaml in this folder; try "
        "--config=configs/quickstart.yaml, or 'fttrain help'");
  }
  return config::LoadRunConfig(line.Get("config", kDefault), line.All("set"));
}

absl::StatusOr<std::vector<Example>> ReadData(const config::RunConfig& run,
                                              const ModelConfig& model) {
  DatasetOptions options;
  options.vocab_size = model.vocab_size;
  // Rows of ready-made tokens need neither tokenizer nor template, so a folder without them will
  // do.
  bool needs_text = false, needs_chat = false;
  for (const config::DataSource& source : run.data().train()) {
    needs_text |= source.format() != config::DATA_FORMAT_TOKENS;
    needs_chat |= source.format() != config::DATA_FORMAT_TOKENS &&
                  source.format() != config::DATA_FORMAT_TEXT;
  }
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<ChatTemplate> chat;
  if (needs_text) {
    FT_ASSIGN_OR_RETURN(tokenizer, FromFile(Tokenizer::Load(run.model().path())));
    FT_RETURN_IF_ERROR(FromFile(CheckTokenizerFits(*tokenizer, model.vocab_size)));
    options.tokenizer = tokenizer.get();
  }
  if (needs_chat) {
    FT_ASSIGN_OR_RETURN(ChatTemplate made, ChatTemplate::Create(ChatTemplateName(run),
                                                                run.model().path(), *tokenizer));
    chat = std::make_unique<ChatTemplate>(std::move(made));
    options.chat = chat.get();
  }
  std::vector<Example> examples;
  for (const config::DataSource& source : run.data().train()) {
    FT_ASSIGN_OR_RETURN(
        std::vector<Example> more,
        FromFile(LoadExamples({source.path(), FormatName(source.format())}, options)));
    std::move(more.begin(), more.end(), std::back_inserter(examples));
  }
  return examples;
}

AdapterConfig AdapterConfigOf(const TrainPlan& plan) {
  AdapterConfig adapter;
  const LoraOptions& lora = plan.network.options.lora;
  adapter.r = lora.r;
  adapter.alpha = lora.alpha;
  adapter.dropout = lora.dropout;
  adapter.use_rslora = lora.use_rslora;
  adapter.target_modules = plan.network.options.target_modules;
  adapter.base_model_name_or_path = plan.network.model_path;
  return adapter;
}

// What can be refused about adapter.init_from without its tensors, and inputs that the run would
// move away.
absl::Status CheckInputFolders(const TrainPlan& plan) {
  const config::RunConfig& run = plan.run;
  FT_RETURN_IF_ERROR(CheckIsNotMoved("model.path", run.model().path(), run.output_dir()));
  if (!run.adapter().has_init_from()) return absl::OkStatus();
  const std::string& folder = run.adapter().init_from();
  FT_RETURN_IF_ERROR(CheckIsNotMoved("adapter.init_from", folder, run.output_dir()));
  FT_ASSIGN_OR_RETURN(const AdapterConfig saved, FromFile(ReadAdapterConfig(folder)));
  return FromFile(CompareAdapterConfigs(folder, saved, plan.adapter));
}

// Which layers are where, and the largest of what stages send each other.
absl::Status PlanPipeline(TrainPlan& plan) {
  NetworkPlan& network = plan.network;
  FT_ASSIGN_OR_RETURN(network.options.layers_per_run, LayersPerRunOf(plan.run, network.model));
  network.boundary_rows =
      int64_t{plan.run.train().micro_batch_size()} * plan.run.data().sequence_len();
  if (PipelineKindOf(plan.run) != PipelineKind::kInterleaved) return absl::OkStatus();
  return CheckInterleaved(network.mesh.pp, plan.run.parallel().chunks_per_stage(),
                          plan.run.train().gradient_accumulation_steps());
}

absl::Status MakeTrainPlan(const config::LoadedConfig& loaded, const Process& process,
                           TrainPlan& plan) {
  FT_RETURN_IF_ERROR(config::Validate(loaded, process.world_size()));
  plan.run = loaded.config;
  FT_ASSIGN_OR_RETURN(plan.network, PlanNetwork(loaded, /*training=*/true, process));
  RecordBaseForm(plan.network.options, plan.run);
  plan.network.options.weights_stay = WeightsStay(plan.run);
  FT_RETURN_IF_ERROR(PlanPipeline(plan));
  plan.adapter = AdapterConfigOf(plan);
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
  trainer.shape = StepShapeOf(plan.run, plan.network.mesh.dp);
  trainer.steps =
      plan.run.train().has_max_steps()
          ? plan.run.train().max_steps()
          : plan.rows->StepsForEpochs(plan.run.train().num_epochs(), trainer.shape.rows_per_step());
  trainer.pipeline = PipelineKindOf(plan.run);
  trainer.schedule = LrScheduleOf(plan.run, trainer.steps);
  trainer.max_grad_norm = plan.run.optimizer().max_grad_norm();
  trainer.seed = static_cast<uint64_t>(plan.run.train().seed());
  return absl::OkStatus();
}

absl::Status PrepareOutput(const TrainPlan& plan, const Process& process) {
  if (process.rank() != 0) return absl::OkStatus();
  const std::string folder = plan.run.output_dir();
  FT_ASSIGN_OR_RETURN(const std::string previous, PrepareOutputFolder(folder));
  if (!previous.empty()) LogInfo(absl::StrCat("output     an earlier run was moved to ", previous));
  return WriteFileAtomically(absl::StrCat(folder, "/config.yaml"), config::ToYaml(plan.run));
}

// Agrees on errors. Collective over the mesh.
absl::Status LoadWeights(const TrainPlan& plan, Network& network, ParameterGroups& groups,
                         const Process& process) {
  const absl::Status base = LoadBaseWeights(network.parameters, &groups, plan.network.model_path,
                                            plan.network.model, plan.network.options.nf4);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(FromFile(base)));
  if (!plan.network.options.use_lora) return absl::OkStatus();
  if (plan.run.adapter().has_init_from()) {
    const absl::Status adapter = LoadAdapter(network.parameters, &groups, network.declared,
                                             plan.run.adapter().init_from(), plan.adapter);
    return process.AgreeOnStatus(FromFile(adapter));
  }
  return groups.Write([&](const std::vector<Parameter*>& parameters) {
    InitializeAdapters(parameters, plan.trainer.seed);
    return absl::OkStatus();
  });
}

// The loop. Agrees on what only rank 0 can fail at (the metrics file).
absl::Status RunSteps(const TrainPlan& plan, Trainer& trainer, const Process& process) {
  std::unique_ptr<MetricsFile> file;
  std::unique_ptr<Progress> progress;
  absl::Status opened;
  if (process.rank() == 0) {
    auto created = MetricsFile::Create(absl::StrCat(plan.run.output_dir(), "/metrics.jsonl"));
    opened = created.status();
    if (created.ok()) file = std::move(*created);
    progress = std::make_unique<Progress>(plan.trainer.steps, plan.run.train().log_steps());
  }
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(opened));
  for (int64_t step = 0; step < plan.trainer.steps; ++step) {
    FT_ASSIGN_OR_RETURN(const StepMetrics metrics, trainer.Step(step));
    absl::Status written;
    if (file != nullptr) {
      written = file->Append(metrics);
      progress->Show(metrics);
    }
    FT_RETURN_IF_ERROR(process.AgreeOnStatus(written));
  }
  return absl::OkStatus();
}

absl::Status SaveResult(const TrainPlan& plan, const Network& network, ParameterGroups& groups,
                        const Process& process) {
  const bool lora = plan.network.options.use_lora;
  const std::string folder = absl::StrCat(plan.run.output_dir(), lora ? "/adapter" : "/model");
  const absl::Status saved =
      lora ? SaveAdapter(network.parameters, groups, network.declared, folder, plan.adapter,
                         *network.mesh)
           : SaveModel(network.parameters, groups, network.declared, plan.network.model_path,
                       folder, plan.network.model, plan.network.options.compute, *network.mesh);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(saved));
  LogInfo(absl::StrCat("saved      ", folder));
  return absl::OkStatus();
}

}  // namespace

absl::Status TrainCommand(const CommandLine& line, const Process& process) {
  const absl::StatusOr<config::LoadedConfig> loaded = ReadConfig(line);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(loaded.status()));
  if (line.Has("print-config")) {
    LogInfo(config::ToYaml(loaded->config, config::Comments::kSchema));
    return absl::OkStatus();
  }
  TrainPlan plan;
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(MakeTrainPlan(*loaded, process, plan)));
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(PrepareOutput(plan, process)));

  FT_ASSIGN_OR_RETURN(const std::unique_ptr<Network> network,
                      BuildNetwork(plan.network, plan.positions, process));
  Optimizer optimizer(network->parameters, *network->mesh, plan.network.device,
                      OptimizerOptionsOf(plan.run));
  FT_RETURN_IF_ERROR(LoadWeights(plan, *network, optimizer.groups(), process));
  optimizer.MastersFromParameters();
  network->transformer->UseGroups(optimizer.groups());
  LogInfo(StartSummary(plan.network, CountParameters(network->declared), plan.rows->summary(),
                       plan.trainer, plan.run.data().sequence_len(),
                       plan.run.parallel().zero_stage()));

  ReleaseFreedMemory();
  ResetMemoryPeaks();
  LogInfo(HeldSummary());
  Trainer trainer(plan.trainer, *network->mesh, *network->links, plan.network.device, *plan.rows,
                  *network->transformer, optimizer);
  FT_RETURN_IF_ERROR(RunSteps(plan, trainer, process));
  return SaveResult(plan, *network, optimizer.groups(), process);
}

}  // namespace fttrain
