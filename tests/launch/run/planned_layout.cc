#include "tests/launch/run/planned_layout.h"

#include "configs/load_config.h"
#include "configs/validate_config.h"
#include "launch/plan/settings.h"
#include "model/config/checks.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

constexpr int kRowsPerStep = 8;

constexpr char kRun[] =
    "model: {path: m}\n"
    "data: {train: [{path: a.jsonl, format: tokens}]}\n"
    "train: {max_steps: 2}\n"
    "output_dir: out\n";

Task TaskOf(const config::RunConfig& run) {
  Task task;
  task.full = task.tied = run.adapter().method() == config::ADAPTER_METHOD_NONE;
  task.nf4 = run.adapter().method() == config::ADAPTER_METHOD_QLORA;
  task.layers = run.parallel().pipeline() == 1 ? 4 : run.parallel().pipeline() == 2 ? 6 : 8;
  task.rows_per_step = kRowsPerStep;
  // Large enough that a gradient of nearly zero moves a parameter no more than its size says.
  task.eps = 1e-2;
  return task;
}

Layout LayoutOf(const config::RunConfig& run, const ModelOptions& model, std::vector<int> runs) {
  const StorageOptions storage = StorageOptionsOf(run);
  Layout layout;
  layout.tp = run.parallel().tensor();
  layout.sequence_parallel = model.sequence_parallel;
  layout.zero_stage = storage.zero_stage;
  layout.micro_batch_size = run.train().micro_batch_size();
  layout.pipeline = PipelineKindOf(run);
  layout.chunks = static_cast<int>(runs.size()) / run.parallel().pipeline();
  layout.layers_per_run = std::move(runs);
  layout.recompute = model.recompute;
  layout.activations_on_host = model.activations_on_host;
  layout.frozen = storage.frozen;
  return layout;
}

}  // namespace

absl::StatusOr<PlannedLayout> Plan(const Combination& combination) {
  std::vector<std::string> overrides = Overrides(combination);
  const int microbatches = kRowsPerStep / combination.Number(kData);
  overrides.push_back("train.gradient_accumulation_steps=" + std::to_string(microbatches));
  FT_ASSIGN_OR_RETURN(const config::LoadedConfig loaded,
                      config::ParseRunConfig(kRun, "run.yaml", overrides));
  const config::RunConfig& run = loaded.config;
  FT_RETURN_IF_ERROR(config::Validate(loaded, combination.Ranks()));
  PlannedLayout plan;
  FT_ASSIGN_OR_RETURN(plan.mesh, MakeMeshShape(combination.Ranks(), run.parallel().tensor(),
                                               run.parallel().pipeline()));
  plan.task = TaskOf(run);
  const ModelSpec model = ModelOf(plan.task);
  FT_RETURN_IF_ERROR(CheckTensorParallel(model, plan.mesh.tp));
  FT_ASSIGN_OR_RETURN(const ModelOptions options, ModelOptionsOf(run, model));
  FT_ASSIGN_OR_RETURN(std::vector<int> runs, LayersPerRunOf(run, model));
  plan.layout = LayoutOf(run, options, std::move(runs));
  if (plan.layout.pipeline == PipelineKind::kInterleaved) {
    FT_RETURN_IF_ERROR(CheckInterleaved(plan.mesh.pp, plan.layout.chunks, microbatches));
  }
  return plan;
}

}  // namespace fttrain
