#include "launch/plan/settings.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "model/config/checks.h"
#include "runtime/process/check.h"

namespace fttrain {

DeviceKind DeviceOf(const config::RunConfig& run) {
  switch (run.device()) {
    case config::DEVICE_CHOICE_CUDA:
      return DeviceKind::kCuda;
    case config::DEVICE_CHOICE_CPU:
      return DeviceKind::kCpu;
    default:
      return DeviceKind::kAuto;
  }
}

RowOptions RowOptionsOf(const config::RunConfig& run) {
  RowOptions options;
  options.sequence_len = run.data().sequence_len();
  options.packing = run.data().packing();
  options.shuffle = run.data().shuffle();
  options.seed = static_cast<uint64_t>(run.train().seed());
  return options;
}

StepShape StepShapeOf(const config::RunConfig& run, int dp_size) {
  return {run.train().micro_batch_size(), run.train().gradient_accumulation_steps(), dp_size};
}

StorageOptions StorageOptionsOf(const config::RunConfig& run) {
  StorageOptions options;
  options.zero_stage = run.parallel().zero_stage();
  if (run.optimizer().state() == config::OPTIMIZER_STATE_INT8) {
    options.moments = MomentStorage::kInt8;
  }
  if (run.memory().base_weights() == config::WEIGHT_PLACE_HOST) {
    options.frozen = FrozenPlace::kHost;
  } else if (run.memory().base_weights() == config::WEIGHT_PLACE_DISK) {
    options.frozen = FrozenPlace::kDisk;
  }
  return options;
}

AdamWOptions AdamWOptionsOf(const config::RunConfig& run) {
  AdamWOptions options;
  options.beta1 = run.optimizer().beta1();
  options.beta2 = run.optimizer().beta2();
  options.eps = run.optimizer().eps();
  options.weight_decay = run.optimizer().weight_decay();
  if (run.optimizer().device() == config::OPTIMIZER_DEVICE_HOST) {
    options.state_place = StatePlace::kHost;
  }
  return options;
}

bool WeightsStay(const config::RunConfig& run) {
  return run.parallel().zero_stage() < 3 &&
         run.memory().base_weights() == config::WEIGHT_PLACE_DEVICE;
}

PipelineKind PipelineKindOf(const config::RunConfig& run) {
  switch (run.parallel().pipeline_schedule()) {
    case config::PIPELINE_SCHEDULE_GPIPE:
      return PipelineKind::kGPipe;
    case config::PIPELINE_SCHEDULE_INTERLEAVED:
      return PipelineKind::kInterleaved;
    case config::PIPELINE_SCHEDULE_LAYER_MAJOR:
      return PipelineKind::kLayerMajor;
    default:
      return PipelineKind::kOneForwardOneBackward;
  }
}

absl::StatusOr<std::vector<int>> LayersPerRunOf(const config::RunConfig& run,
                                                const ModelSpec& model) {
  if (PipelineKindOf(run) == PipelineKind::kLayerMajor) {
    return std::vector<int>(static_cast<size_t>(model.num_layers()), 1);
  }
  const config::ParallelConfig& parallel = run.parallel();
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

LrSchedule LrScheduleOf(const config::RunConfig& run, int64_t total_steps) {
  LrSchedule schedule;
  switch (run.schedule().name()) {
    case config::SCHEDULE_NAME_CONSTANT:
      schedule.kind = LrSchedule::Kind::kConstant;
      break;
    case config::SCHEDULE_NAME_LINEAR:
      schedule.kind = LrSchedule::Kind::kLinear;
      break;
    default:
      schedule.kind = LrSchedule::Kind::kCosine;
      break;
  }
  schedule.peak = run.optimizer().learning_rate();
  schedule.warmup_steps = run.schedule().warmup_steps();
  schedule.total_steps = total_steps;
  schedule.min_ratio = run.schedule().min_ratio();
  return schedule;
}

ChatForm ChatFormOf(const config::RunConfig& run) {
  switch (run.data().chat_template()) {
    case config::CHAT_TEMPLATE_AUTO:
      return ChatForm::kAuto;
    case config::CHAT_TEMPLATE_CHATML:
      return ChatForm::kChatml;
    case config::CHAT_TEMPLATE_LLAMA3:
      return ChatForm::kLlama3;
    case config::CHAT_TEMPLATE_LLAMA3_1:
      return ChatForm::kLlama31;
    case config::CHAT_TEMPLATE_GEMMA:
      return ChatForm::kGemma;
    case config::CHAT_TEMPLATE_UNSPECIFIED:
    case config::ChatTemplate_INT_MIN_SENTINEL_DO_NOT_USE_:
    case config::ChatTemplate_INT_MAX_SENTINEL_DO_NOT_USE_:
      break;
  }
  FT_CHECK(false, "chat template ", static_cast<int>(run.data().chat_template()));
}

RowFormat RowFormatOf(config::DataFormat format) {
  switch (format) {
    case config::DATA_FORMAT_MESSAGES:
      return RowFormat::kMessages;
    case config::DATA_FORMAT_PROMPT_COMPLETION:
      return RowFormat::kPromptCompletion;
    case config::DATA_FORMAT_ALPACA:
      return RowFormat::kAlpaca;
    case config::DATA_FORMAT_TEXT:
      return RowFormat::kText;
    case config::DATA_FORMAT_TOKENS:
      return RowFormat::kTokens;
    case config::DATA_FORMAT_SHAREGPT:  // unsupported.cc refuses it
    case config::DATA_FORMAT_UNSPECIFIED:
    case config::DataFormat_INT_MIN_SENTINEL_DO_NOT_USE_:
    case config::DataFormat_INT_MAX_SENTINEL_DO_NOT_USE_:
      break;
  }
  FT_CHECK(false, "data format ", static_cast<int>(format));
}

namespace {

Recompute RecomputeOf(const config::RunConfig& run) {
  switch (run.memory().recompute()) {
    case config::RECOMPUTE_SMART:
      return Recompute::kSmart;
    case config::RECOMPUTE_FULL:
      return Recompute::kFull;
    default:
      return Recompute::kNone;
  }
}

}  // namespace

absl::StatusOr<ModelOptions> ModelOptionsOf(const config::RunConfig& run, const ModelSpec& model) {
  ModelOptions options;
  options.compute =
      run.precision().compute() == config::COMPUTE_TYPE_FP32 ? at::kFloat : at::kBFloat16;
  options.sequence_parallel = run.parallel().sequence_parallel();
  options.recompute = RecomputeOf(run);
  options.activations_on_host = run.memory().activations() == config::ACTIVATION_PLACE_HOST;
  options.train_base = run.adapter().method() == config::ADAPTER_METHOD_NONE;
  if (!options.train_base) {
    const config::AdapterConfig& adapter = run.adapter();
    FT_ASSIGN_OR_RETURN(std::vector<std::string> targets,
                        ResolveTargetModules(model, {adapter.target_modules().begin(),
                                                     adapter.target_modules().end()}));
    options.adapter = {adapter.r(),          adapter.alpha(),    adapter.dropout(),
                       adapter.use_rslora(), std::move(targets), run.model().path()};
  }
  return options;
}

}  // namespace fttrain
