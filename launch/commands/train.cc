#include "absl/strings/str_cat.h"
#include "configs/to_yaml.h"
#include "launch/commands/commands.h"
#include "launch/run/metrics.h"
#include "launch/run/output_folder.h"
#include "launch/run/summary.h"
#include "launch/run/train_plan.h"
#include "launch/run/weights.h"
#include "runtime/files/whole_file.h"
#include "runtime/memory/ledger.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

absl::Status PrepareOutput(const TrainPlan& plan, const Process& process) {
  if (process.rank() != 0) return absl::OkStatus();
  const std::string folder = plan.run.output_dir();
  FT_ASSIGN_OR_RETURN(const std::string previous, PrepareOutputFolder(folder));
  if (!previous.empty()) LogInfo(absl::StrCat("output     an earlier run was moved to ", previous));
  return WriteFileAtomically(absl::StrCat(folder, "/config.yaml"), config::ToYaml(plan.run));
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

absl::Status SaveResult(const TrainPlan& plan, const Network& network, const Process& process) {
  const bool lora = plan.network.options.adapter.has_value();
  const std::string folder = absl::StrCat(plan.run.output_dir(), lora ? "/adapter" : "/model");
  const absl::Status saved =
      lora
          ? SaveAdapter(network.parameters, *network.store, network.declared, folder,
                        *plan.network.options.adapter)
          : SaveModel(network.parameters, *network.store, network.declared, plan.network.model_path,
                      folder, plan.network.model, plan.network.options.compute);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(saved));
  LogInfo(absl::StrCat("saved      ", folder));
  return absl::OkStatus();
}

}  // namespace

absl::Status TrainCommand(const CommandLine& line, const Process& process) {
  const absl::StatusOr<config::LoadedConfig> loaded = ReadRunConfig(line);
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(loaded.status()));
  if (line.Has("print_config")) {
    LogInfo(config::ToYaml(loaded->config, config::Comments::kSchema));
    return absl::OkStatus();
  }
  TrainPlan plan;
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(MakeTrainPlan(*loaded, process, plan)));
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(PrepareOutput(plan, process)));

  FT_ASSIGN_OR_RETURN(TrainingRun run, BuildTrainingRun(plan, process));
  LogInfo(StartSummary(plan, run));

  ReleaseFreedMemory();
  ResetMemoryPeaks();
  LogInfo(HeldSummary());
  Trainer trainer = MakeTrainer(plan, run);
  FT_RETURN_IF_ERROR(RunSteps(plan, trainer, process));
  return SaveResult(plan, *run.network, process);
}

}  // namespace fttrain
