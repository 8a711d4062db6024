#include "launch/plan/layout.h"

#include "absl/strings/str_cat.h"
#include "launch/plan/words.h"
#include "model/blocks/router_balance.h"
#include "model/config/checks.h"
#include "model/network/border.h"
#include "runtime/math/ceil_divide.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

// Where something is that is on the device or the host.
template <typename Where, typename Word>
Where PlaceOf(Word word, Word device, Word host) {
  return ValueOf<Word, Where>(word, {{device, Where::kDevice}, {host, Where::kHost}});
}

void SetPlaces(const config::RunConfig& run, Layout& layout) {
  const config::MemoryConfig& memory = run.memory();
  layout.recompute = ValueOf<config::Recompute, Recompute>(
      memory.recompute(), {{config::RECOMPUTE_NONE, Recompute::kNone},
                           {config::RECOMPUTE_SMART, Recompute::kSmart},
                           {config::RECOMPUTE_FULL, Recompute::kFull}});
  layout.activations = PlaceOf<Place>(memory.activations(), config::ACTIVATION_PLACE_DEVICE,
                                      config::ACTIVATION_PLACE_HOST);
  layout.embedding = PlaceOf<Place>(memory.embedding(), config::EMBEDDING_PLACE_DEVICE,
                                    config::EMBEDDING_PLACE_HOST);
  layout.frozen = ValueOf<config::WeightPlace, FrozenPlace>(
      memory.base_weights(), {{config::WEIGHT_PLACE_DEVICE, FrozenPlace::kDevice},
                              {config::WEIGHT_PLACE_HOST, FrozenPlace::kHost},
                              {config::WEIGHT_PLACE_DISK, FrozenPlace::kDisk}});
  layout.state = PlaceOf<StatePlace>(run.optimizer().device(), config::OPTIMIZER_DEVICE_DEVICE,
                                     config::OPTIMIZER_DEVICE_HOST);
}

// The config's runs, one of each layer under layer_major, else balanced.
absl::StatusOr<std::vector<int>> RunsOf(const config::ParallelConfig& parallel,
                                        PipelineKind schedule, const ModelSpec& model) {
  if (schedule == PipelineKind::kLayerMajor) {
    return std::vector<int>(static_cast<size_t>(model.num_layers()), 1);
  }
  const int64_t runs = int64_t{parallel.pipeline()} * parallel.chunks_per_stage();
  if (runs > model.num_layers()) {
    return absl::InvalidArgumentError(
        absl::StrCat("parallel.pipeline ", parallel.pipeline(), " x chunks_per_stage ",
                     parallel.chunks_per_stage(), " = ", runs,
                     " runs of layers, but the model has only ", model.num_layers(), " layers"));
  }
  const std::vector<int> given(parallel.layers_per_stage().begin(),
                               parallel.layers_per_stage().end());
  if (given.empty()) return BalancedRuns(model, static_cast<int>(runs));
  FT_RETURN_IF_ERROR(CheckRuns(given, model, static_cast<int>(runs)));
  return given;
}

}  // namespace

absl::StatusOr<Layout> LayoutOf(const config::RunConfig& run, const ModelSpec& model,
                                int world_size) {
  const config::ParallelConfig& parallel = run.parallel();
  Layout layout;
  FT_ASSIGN_OR_RETURN(layout.mesh, MakeMeshShape(world_size, parallel.tensor(), parallel.pipeline(),
                                                 parallel.expert()));
  layout.device = ValueOf<config::DeviceChoice, DeviceKind>(
      run.device(), {{config::DEVICE_CHOICE_AUTO, DeviceKind::kAuto},
                     {config::DEVICE_CHOICE_CUDA, DeviceKind::kCuda},
                     {config::DEVICE_CHOICE_CPU, DeviceKind::kCpu}});
  layout.micro_batch_rows = run.train().micro_batch_size();
  layout.sequence_parallel = parallel.sequence_parallel();
  layout.zero_stage = parallel.zero_stage();
  layout.schedule = ValueOf<config::PipelineSchedule, PipelineKind>(
      parallel.pipeline_schedule(),
      {{config::PIPELINE_SCHEDULE_1F1B, PipelineKind::kOneForwardOneBackward},
       {config::PIPELINE_SCHEDULE_INTERLEAVED, PipelineKind::kInterleaved},
       {config::PIPELINE_SCHEDULE_GPIPE, PipelineKind::kGPipe},
       {config::PIPELINE_SCHEDULE_LAYER_MAJOR, PipelineKind::kLayerMajor}});
  SetPlaces(run, layout);
  FT_RETURN_IF_ERROR(CheckTensorParallel(model, layout.mesh.tp));
  FT_RETURN_IF_ERROR(CheckExpertParallel(model, layout.mesh.ep));
  FT_ASSIGN_OR_RETURN(layout.layers_per_run, RunsOf(parallel, layout.schedule, model));
  return layout;
}

absl::Status CheckLayout(const Task& task, const Layout& layout) {
  const int stages = layout.mesh.pp;
  FT_RETURN_IF_ERROR(CheckTensorParallel(task.model, layout.mesh.tp));
  FT_RETURN_IF_ERROR(CheckExpertParallel(task.model, layout.mesh.ep));
  if (stages > task.model.num_layers()) {
    return absl::InvalidArgumentError(absl::StrCat("a pipeline of ", stages,
                                                   " stages, but the model has only ",
                                                   task.model.num_layers(), " layers"));
  }
  if (layout.embedding == Place::kHost && task.model.head.tied) {
    return absl::InvalidArgumentError(
        "'memory.embedding' host: this model's embedding table is also its output head "
        "(tie_word_embeddings), which multiplies on the device; use device");
  }
  if (layout.schedule != PipelineKind::kInterleaved) return absl::OkStatus();
  return CheckInterleaved(stages, static_cast<int>(layout.layers_per_run.size()) / stages,
                          static_cast<int>(StepShapeOf(task, layout).accumulation));
}

StepShape StepShapeOf(const Task& task, const Layout& layout) {
  const int64_t replicas = layout.mesh.size(kDataAxes), rows = layout.micro_batch_rows * replicas;
  FT_CHECK(task.rows_per_step % rows == 0, task.rows_per_step, " rows a step in microbatches of ",
           rows);
  return {layout.micro_batch_rows, task.rows_per_step / rows, replicas};
}

Task WithMicrobatches(const Task& task, const Layout& layout, int64_t microbatches) {
  Task with = task;
  with.rows_per_step = task.rows_per_step / StepShapeOf(task, layout).accumulation * microbatches;
  return with;
}

std::vector<int64_t> MostInFlight(const Task& task, const Layout& layout, int64_t microbatches) {
  const int pp = layout.mesh.pp;
  const int chunks = static_cast<int>(LayersPerRun(task, layout).size()) / pp;
  std::vector<int64_t> most;
  for (const auto& steps :
       MakeAllStages(layout.schedule, pp, chunks, static_cast<int>(microbatches))) {
    most.push_back(MostInFlight(steps));
  }
  return most;
}

int64_t EnoughMicrobatches(const Task& task, const Layout& layout) {
  const int64_t all = StepShapeOf(task, layout).accumulation;
  const PipelineKind kind = layout.schedule;
  if (kind == PipelineKind::kGPipe || kind == PipelineKind::kLayerMajor) return all;
  const std::vector<int64_t> whole = MostInFlight(task, layout, all);
  const int64_t unit = kind == PipelineKind::kInterleaved ? layout.mesh.pp : 1;
  int64_t enough = unit;
  while (enough < all && MostInFlight(task, layout, enough) != whole) enough += unit;
  return std::min(all, enough + unit);
}

ModelOptions ModelOptionsOf(const Task& task, const Layout& layout) {
  ModelOptions options;
  static_cast<ParameterForm&>(options) = task.form;
  options.sequence_parallel = layout.sequence_parallel;
  options.loss_chunk_rows = layout.loss_chunk_rows;
  options.recompute = layout.recompute;
  options.activations_on_host = layout.activations == Place::kHost;
  options.embedding_on_host = layout.embedding == Place::kHost;
  options.layers_per_run = layout.layers_per_run;
  options.weights_stay = layout.WeightsStay();
  options.microbatch_tokens =
      RoundUp(layout.micro_batch_rows * task.rows.sequence_len, int64_t{layout.mesh.tp});
  return options;
}

StageLinksOptions LinksOptionsOf(const Task& task, const Layout& layout) {
  const int tp = layout.mesh.tp;
  const int64_t padded = RoundUp(layout.micro_batch_rows * task.rows.sequence_len, tp);
  const bool ring =
      static_cast<int>(layout.layers_per_run.size()) > layout.mesh.pp && layout.mesh.pp > 1;
  const auto row_bytes =
      task.model.hidden_size * static_cast<int64_t>(c10::elementSize(task.form.compute));
  int64_t rows = padded / (layout.sequence_parallel ? tp : 1);
  if (task.router_loss > 0) {
    rows += RowsOfNumbers(RouterBalance::NumSums(RoutersShape::Of(task.model)), row_bytes);
  }
  return {ring, rows * row_bytes};
}

std::vector<int> LayersPerRun(const Task& task, const Layout& layout) {
  if (!layout.layers_per_run.empty()) return layout.layers_per_run;
  return BalancedRuns(task.model, layout.mesh.pp);
}

int64_t ShareOf(const Parameter& parameter, int64_t bytes, const Layout& layout, bool sharded) {
  if (sharded) return bytes / layout.mesh.size(kDataAxes);
  return parameter.placement.ep == AxisGradient::kOwned ? bytes / layout.mesh.ep : bytes;
}

ParameterSet Declare(const Task& task) {
  return DeclareWholeModel(task.model, ModelOptionsOf(task, Layout{}));
}

}  // namespace fttrain
