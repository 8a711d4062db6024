// LoRA on all linears of a Llama 3 8B by its shape, with as many layers, for the planner's tests.
#pragma once

#include "launch/plan/task.h"
#include "model/config/families/llama_shape.h"

namespace fttrain {

inline LlamaShape ShapeOf8B(int layers) {
  return {.hidden_size = 4096,
          .intermediate_size = 14336,
          .num_layers = layers,
          .num_heads = 32,
          .num_kv_heads = 8,
          .head_dim = 128,
          .vocab_size = 128256,
          .max_position_embeddings = 8192};
}

inline Task LoraTask(int layers, int64_t rows_per_step = 16) {
  Task task;
  task.model = LlamaLike(ShapeOf8B(layers));
  task.form.compute = at::kBFloat16;
  task.form.adapter = AdapterForm{.r = 16, .target_modules = {{ModuleNames::kAllLinear}}};
  task.rows.sequence_len = 2048;
  task.rows_per_step = rows_per_step;
  return task;
}

}  // namespace fttrain
