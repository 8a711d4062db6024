#include "configs/defaults.h"

// FT_DEFAULT(section, field, value): sets the field unless it is present.
#define FT_DEFAULT(section, field, value)                       \
  do {                                                          \
    if (!(section).has_##field()) (section).set_##field(value); \
  } while (false)

namespace fttrain::config {
namespace {

void FillAdapter(AdapterConfig& adapter) {
  FT_DEFAULT(adapter, method, ADAPTER_METHOD_LORA);
  if (adapter.method() == ADAPTER_METHOD_NONE) return;
  FT_DEFAULT(adapter, r, 16);
  FT_DEFAULT(adapter, alpha, 32);
  FT_DEFAULT(adapter, dropout, 0);
  FT_DEFAULT(adapter, use_rslora, false);
  if (adapter.target_modules().empty()) adapter.add_target_modules("all-linear");
  if (adapter.method() != ADAPTER_METHOD_QLORA) return;
  QuantizationConfig& quantization = *adapter.mutable_quantization();
  FT_DEFAULT(quantization, type, QUANTIZATION_TYPE_NF4);
  FT_DEFAULT(quantization, double_quant, true);
  FT_DEFAULT(quantization, block_size, 64);
  FT_DEFAULT(quantization, lm_head, false);
}

void FillData(DataConfig& data) {
  FT_DEFAULT(data, sequence_len, 2048);
  FT_DEFAULT(data, packing, true);
  FT_DEFAULT(data, shuffle, true);
  FT_DEFAULT(data, chat_template, CHAT_TEMPLATE_AUTO);
}

void FillTrain(TrainConfig& train) {
  FT_DEFAULT(train, micro_batch_size, 1);
  FT_DEFAULT(train, gradient_accumulation_steps, 1);
  FT_DEFAULT(train, seed, 42);
  FT_DEFAULT(train, eval_steps, 0);
  FT_DEFAULT(train, save_steps, 0);
  FT_DEFAULT(train, save_total_limit, 0);
  FT_DEFAULT(train, deterministic, false);
  FT_DEFAULT(train, log_steps, 1);
}

void FillOptimizer(OptimizerConfig& optimizer, AdapterMethod method) {
  FT_DEFAULT(optimizer, name, OPTIMIZER_NAME_ADAMW);
  FT_DEFAULT(optimizer, learning_rate, method == ADAPTER_METHOD_NONE ? 2e-5 : 2e-4);
  FT_DEFAULT(optimizer, weight_decay, 0);
  FT_DEFAULT(optimizer, beta1, 0.9);
  FT_DEFAULT(optimizer, beta2, 0.999);
  FT_DEFAULT(optimizer, eps, 1e-8);
  FT_DEFAULT(optimizer, max_grad_norm, 1);
  FT_DEFAULT(optimizer, state, OPTIMIZER_STATE_FP32);
  FT_DEFAULT(optimizer, device, OPTIMIZER_DEVICE_DEVICE);
}

void FillParallel(ParallelConfig& parallel) {
  FT_DEFAULT(parallel, tensor, 1);
  FT_DEFAULT(parallel, pipeline, 1);
  FT_DEFAULT(parallel, zero_stage, 1);
  FT_DEFAULT(parallel, sequence_parallel, true);
  FT_DEFAULT(parallel, pipeline_schedule, PIPELINE_SCHEDULE_1F1B);
  FT_DEFAULT(parallel, chunks_per_stage, 1);
}

}  // namespace

void FillDefaults(RunConfig& config) {
  config.mutable_model();
  FillAdapter(*config.mutable_adapter());
  FillData(*config.mutable_data());
  FillTrain(*config.mutable_train());
  FillOptimizer(*config.mutable_optimizer(), config.adapter().method());
  FT_DEFAULT(*config.mutable_schedule(), name, SCHEDULE_NAME_COSINE);
  FT_DEFAULT(*config.mutable_schedule(), warmup_steps, 0);
  FT_DEFAULT(*config.mutable_schedule(), min_ratio, 0);
  FillParallel(*config.mutable_parallel());
  FT_DEFAULT(*config.mutable_memory(), recompute, RECOMPUTE_NONE);
  FT_DEFAULT(*config.mutable_memory(), activations, ACTIVATION_PLACE_DEVICE);
  FT_DEFAULT(*config.mutable_memory(), base_weights, WEIGHT_PLACE_DEVICE);
  FT_DEFAULT(*config.mutable_memory(), embedding, EMBEDDING_PLACE_DEVICE);
  FT_DEFAULT(*config.mutable_precision(), compute, COMPUTE_TYPE_BF16);
  FT_DEFAULT(config, device, DEVICE_CHOICE_AUTO);
}

}  // namespace fttrain::config
