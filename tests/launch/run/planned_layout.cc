#include "tests/launch/run/planned_layout.h"

#include "configs/validate_config.h"
#include "runtime/process/check.h"
#include "tests/launch/run/tiny_job.h"

namespace fttrain {
namespace {

constexpr int kRowsPerStep = 8;
// Of Documents(), so that two steps are needed and the second has three rows: some of its
// microbatches and replicas have none.
constexpr double kEpochsOfPackedRows = 0.55, kEpochsOfSingleRows = 0.275;

// An eps so large that a gradient of nearly zero moves a parameter no more than its size says.
constexpr char kRun[] =
    "model: {path: m}\n"
    "data: {train: [{path: a.jsonl, format: tokens}], sequence_len: 24}\n"
    "train: {max_steps: 2, seed: 3}\n"
    "optimizer: {learning_rate: 0.01, weight_decay: 0.1, eps: 0.01, max_grad_norm: 0.5}\n"
    "schedule: {name: constant}\n"
    "precision: {compute: fp32}\n"
    "device: cpu\n"
    "output_dir: out\n";

constexpr int64_t kSmallestIn8Bits = 4096;  // elements (TakesInt8Moments)

void UseLatents(LlamaShape& model) {
  model.layer_windows.clear();
  model.num_kv_heads = model.num_heads;
  model.latent = {.kv_rank = 6, .q_rank = 5, .nope_dim = 3, .rope_dim = 2, .v_dim = 4};
  model.rotary_dim = model.latent.rope_dim;
  model.rope.interleaved = true;
  model.attention_scale = 0.4;
  if (model.moe.experts == 0) return;
  model.moe.sigmoid = model.moe.corrected = true;
  model.moe.scale = 1.5;
  model.moe.groups = 2;
  model.moe.top_groups = 1;
  model.moe.group_best = 2;
  model.moe.shared_size = 6;
}

ModelSpec ModelOf(const Combination& combination) {
  const int stages = combination.Number(kPipeline);
  LlamaShape model = TinyShape(combination.tied_and_padded, stages == 1 ? 4 : stages == 2 ? 6 : 8);
  if (combination.Is(kMoments, "int8")) model.vocab_size = 2 * kSmallestIn8Bits / model.hidden_size;
  if (combination.experts) {
    model.moe = {.experts = 4, .top_k = 2, .intermediate_size = 12, .renormalize = true};
    for (int64_t i = 0; i < model.num_layers; ++i) model.moe.in_layer.push_back(i % 2 == 1);
    if (!combination.latents) model.moe.router_loss = 0;
  }
  if (combination.latents) UseLatents(model);
  if (combination.sinks) {
    model.attention_sinks = model.qkv_bias = model.o_bias = true;
    model.moe.stacked = model.moe.bias = true;
    model.activation = Activation::kClampedSwish;
    for (int64_t i = 0; i < model.num_layers; ++i)
      model.layer_windows.push_back(i % 2 == 0 ? 5 : 0);
  }
  return LlamaLike(model);
}

// Not every linear, layer or stage has an adapter, and not all have the same.
void AdaptUnevenly(const Combination& combination, std::vector<std::string>& overrides) {
  const std::string keys = combination.latents ? "kv_b_proj" : "k_proj";
  const std::string queries = combination.latents ? "q_b_proj" : "q_proj";
  const std::string first = combination.experts ? "self_attn." + queries : "mlp.down_proj";
  const std::string some = combination.experts ? "self_attn.q" : "mlp";
  overrides.push_back("adapter.layers_to_transform=[0, 1, 3]");
  overrides.push_back("adapter.exclude_modules=[layers.0." + first + ", o_proj]");
  overrides.push_back("adapter.rank_pattern={" + keys + ": 2, 'layers\\.1\\." + some + ".*': 5}");
  overrides.push_back("adapter.alpha_pattern={" + keys + ": 3}");
}

std::vector<std::string> OverridesOf(const Combination& combination) {
  std::vector<std::string> overrides = Overrides(combination);
  const int rows = combination.rows_of_a_microbatch;
  overrides.push_back("train.micro_batch_size=" + std::to_string(rows));
  overrides.push_back("train.gradient_accumulation_steps=" +
                      std::to_string(kRowsPerStep / (combination.Number(kData) * rows)));
  if (combination.tied_and_padded) overrides.push_back("data.packing=false");
  if (combination.Is(kMethod, "none")) return overrides;
  if (combination.tied_and_padded) AdaptUnevenly(combination, overrides);
  if (combination.experts) {
    overrides.push_back(
        combination.latents
            ? "adapter.target_modules=[q_a_proj, q_b_proj, kv_a_proj_with_mqa, kv_b_proj, o_proj]"
            : "adapter.target_modules=[q_proj, k_proj, v_proj, o_proj]");
  }
  const int64_t r = combination.Is(kMoments, "int8") ? kSmallestIn8Bits / 32 : 3;
  overrides.push_back("adapter.r=" + std::to_string(r));
  overrides.push_back("adapter.alpha=" + std::to_string(2 * r));
  overrides.push_back(combination.adapts_experts ? "adapter.dropout=0" : "adapter.dropout=0.2");
  if (combination.adapts_experts) {
    overrides.push_back(
        "adapter.target_parameters=[mlp.experts.gate_up_proj, mlp.experts.down_proj]");
  }
  return overrides;
}

}  // namespace

absl::StatusOr<CheckedRun> Plan(const Combination& combination) {
  FT_ASSIGN_OR_RETURN(const config::LoadedConfig loaded,
                      config::ParseRunConfig(kRun, "run.yaml", OverridesOf(combination)));
  FT_RETURN_IF_ERROR(config::Validate(loaded, combination.Ranks()));
  FT_ASSIGN_OR_RETURN(CheckedRun run, CheckRun(loaded, ModelOf(combination), combination.Ranks()));
  if (run.task.moments == MomentStorage::kGradientDtype) run.task.form.compute = at::kDouble;
  run.task.epochs = run.task.rows.packing ? kEpochsOfPackedRows : kEpochsOfSingleRows;
  run.layout.loss_chunk_rows = 5;
  return run;
}

}  // namespace fttrain
