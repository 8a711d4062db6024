#include "launch/verify/reference_layout.h"

#include <algorithm>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "launch/plan/settings.h"
#include "model/blocks/decoder_layer.h"
#include "model/config/checks.h"
#include "model/network/runs.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

int64_t ValueBytes(const Parameter& parameter) {
  if (parameter.packed_bytes > 0) return parameter.packed_bytes;
  return parameter.slice.GlobalNumel() * static_cast<int64_t>(c10::elementSize(parameter.dtype));
}

// Of a trainable one beside its value: float32 gradient, two moments, a master if it is narrower.
int64_t TrainingBytes(const Parameter& parameter) {
  if (!parameter.trainable) return 0;
  return parameter.slice.GlobalNumel() * (parameter.dtype == at::kBFloat16 ? 16 : 12);
}

// The largest stage's parameters of the whole model, and their training state.
int64_t LargestStage(const TrainPlan& plan, const ParameterSet& declared) {
  const int stages = plan.network.mesh.pp;
  const std::vector<int> runs = BalancedRuns(plan.network.model, stages);
  std::vector<int> stage_of_layer;
  for (int stage = 0; stage < stages; ++stage) {
    stage_of_layer.insert(stage_of_layer.end(),
                          static_cast<size_t>(runs[static_cast<size_t>(stage)]), stage);
  }
  std::vector<int64_t> bytes(static_cast<size_t>(stages));
  const bool streamed = !plan.network.options.weights_stay;
  int64_t window = 0;
  for (const auto& parameter : declared.all()) {
    const int64_t held = ValueBytes(*parameter) + TrainingBytes(*parameter);
    const bool last = parameter->group == kHeadGroup || parameter->group == kEmbeddingGroup;
    if (parameter->group == kEmbeddingGroup) bytes.front() += held;
    if (last && (stages > 1 || parameter->group == kHeadGroup)) bytes.back() += held;
    if (parameter->group < 0) continue;
    if (streamed && !parameter->trainable) {
      if (parameter->group <= 1) window += held;  // two layers
      continue;
    }
    bytes[static_cast<size_t>(stage_of_layer[static_cast<size_t>(parameter->group)])] += held;
  }
  return window + *std::max_element(bytes.begin(), bytes.end());
}

std::string GiB(int64_t bytes) {
  return absl::StrFormat("%.2f GiB", static_cast<double>(bytes) / (1 << 30));
}

}  // namespace

std::string ToString(const ReferenceLayout& layout) {
  const std::string text = layout.tp * layout.pp == 1
                               ? std::string("one rank")
                               : absl::StrCat("tp ", layout.tp, " x pp ", layout.pp);
  return text + (layout.keeps_memory_keys ? " with the run's memory settings" : "");
}

absl::StatusOr<ReferenceLayout> ParseReference(const std::string& text, int ranks) {
  ReferenceLayout layout;
  for (absl::string_view part : absl::StrSplit(text, ',')) {
    const std::pair<absl::string_view, absl::string_view> words =
        absl::StrSplit(part, absl::MaxSplits('=', 1));
    int* const size = words.first == "tp" ? &layout.tp : words.first == "pp" ? &layout.pp : nullptr;
    if (size == nullptr || !absl::SimpleAtoi(words.second, size) || *size < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat("--reference=", text, ": write sizes of at least 1, such as tp=2,pp=1"));
    }
  }
  if (int64_t{layout.tp} * layout.pp > ranks) {
    return absl::InvalidArgumentError(absl::StrCat("--reference=", text, ": ", layout.tp, " x ",
                                                   layout.pp, " ranks are more than the ", ranks,
                                                   " of this job"));
  }
  return layout;
}

config::RunConfig ReferenceConfig(config::RunConfig run, int dp, const ReferenceLayout& layout) {
  config::ParallelConfig& parallel = *run.mutable_parallel();
  parallel.set_tensor(layout.tp);
  parallel.set_pipeline(layout.pp);
  parallel.set_zero_stage(0);
  parallel.set_sequence_parallel(false);
  parallel.set_pipeline_schedule(config::PIPELINE_SCHEDULE_1F1B);
  parallel.set_chunks_per_stage(1);
  parallel.clear_layers_per_stage();
  // Microbatch a * dp + d is what data-parallel rank d has as its a-th.
  run.mutable_train()->set_gradient_accumulation_steps(run.train().gradient_accumulation_steps() *
                                                       dp);
  if (layout.keeps_memory_keys) return run;
  config::MemoryConfig& memory = *run.mutable_memory();
  memory.set_recompute(config::RECOMPUTE_NONE);
  memory.set_activations(config::ACTIVATION_PLACE_DEVICE);
  memory.set_base_weights(config::WEIGHT_PLACE_DEVICE);
  memory.set_embedding(config::EMBEDDING_PLACE_DEVICE);
  run.mutable_optimizer()->set_device(config::OPTIMIZER_DEVICE_DEVICE);
  return run;
}

absl::Status ApplyReference(TrainPlan& plan, const ReferenceLayout& layout) {
  plan.run = ReferenceConfig(plan.run, plan.network.mesh.dp, layout);
  plan.network.mesh = {.tp = layout.tp, .pp = layout.pp, .dp = 1};
  FT_RETURN_IF_ERROR(CheckTensorParallel(plan.network.model, layout.tp));
  return PlanLayout(plan);
}

int64_t HeldBytes(const TrainPlan& plan, const ParameterSet& declared) {
  const NetworkPlan& network = plan.network;
  const std::vector<int> runs = BalancedRuns(network.model, network.mesh.pp);
  int64_t kept = 0;
  for (size_t stage = 0; stage < runs.size(); ++stage) {
    const int64_t in_flight = std::min<int64_t>(static_cast<int64_t>(runs.size() - stage),
                                                plan.trainer.shape.accumulation);
    kept = std::max(kept, runs[stage] * in_flight);  // layers
  }
  kept *= KeptBytes(network.model.layers.front(), network.options, network.mesh.tp,
                    network.boundary_rows);
  if (network.options.activations_on_host && network.device.is_cuda()) kept = 0;
  const int64_t held = LargestStage(plan, declared) / network.mesh.tp + kept;
  return held + held / 10;
}

absl::StatusOr<ReferenceLayout> ChooseReference(TrainPlan& plan, const ParameterSet& declared,
                                                int64_t free_bytes, bool shared, int ranks,
                                                std::optional<ReferenceLayout> asked) {
  const config::RunConfig run = plan.run;
  const MeshShape mesh = plan.network.mesh;
  std::string least;
  for (int size = 1; size <= ranks; ++size) {
    for (const bool keeps : {false, true}) {
      for (int tp = 1; tp <= size; ++tp) {
        if (size % tp != 0) continue;
        const ReferenceLayout layout = {tp, size / tp, keeps};
        if (asked && (asked->tp != layout.tp || asked->pp != layout.pp)) continue;
        plan.run = run;
        plan.network.mesh = mesh;
        const absl::Status possible = ApplyReference(plan, layout);
        if (asked) FT_RETURN_IF_ERROR(possible);
        if (!possible.ok()) continue;
        const int64_t bytes = HeldBytes(plan, declared) * (shared ? size : 1);
        if (bytes <= free_bytes || (asked && keeps)) return layout;
        least = absl::StrCat("; ", ToString(layout), " would take about ", GiB(bytes),
                             shared ? " together" : " a rank");
      }
    }
  }
  return absl::ResourceExhaustedError(
      absl::StrCat("no layout of at most ", ranks, " ranks fits in the ", GiB(free_bytes),
                   " of memory that are free, to compare this run with", least,
                   ". Shorten data.sequence_len, verify a model of fewer layers, or force one with "
                   "--reference=tp=T,pp=P"));
}

}  // namespace fttrain
