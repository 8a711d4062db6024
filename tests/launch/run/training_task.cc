#include "tests/launch/run/training_task.h"

namespace fttrain {

LlamaShape TinyShape(bool tied) {
  LlamaShape m;
  m.hidden_size = 32;
  m.intermediate_size = 48;
  m.num_layers = 2;
  m.num_heads = 8;
  m.num_kv_heads = 2;
  m.head_dim = 4;
  m.vocab_size = 37;
  m.max_position_embeddings = 64;
  m.tie_word_embeddings = tied;
  m.layer_windows = {0, 6};
  return m;
}

ModelSpec TinyModel(bool tied) { return LlamaLike(TinyShape(tied)); }

ModelSpec ModelOf(const Task& task) {
  LlamaShape model = TinyShape(task.tied);
  model.num_layers = task.layers;
  model.layer_windows.resize(static_cast<size_t>(task.layers), 0);
  return LlamaLike(model);
}

ModelOptions Options(bool full) {
  ModelOptions options;
  options.compute = at::kDouble;
  options.train_base = full;
  if (!full) {
    options.adapter = {.r = 3,
                       .alpha = 6,
                       .dropout = 0.2,
                       .target_modules = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj",
                                          "up_proj", "down_proj"}};
  }
  options.loss_chunk_rows = 5;
  return options;
}

ModelOptions OptionsOf(const Layout& layout, const Task& task, int stages) {
  ModelOptions options = Options(task.full);
  options.sequence_parallel = layout.sequence_parallel;
  options.recompute = layout.recompute;
  options.activations_on_host = layout.activations_on_host;
  if (task.nf4) options.nf4 = Nf4Options{};
  options.nf4_dense = {"lm_head"};
  options.layers_per_run = layout.layers_per_run;
  if (options.layers_per_run.empty() && layout.chunks > 1) {
    const int runs = layout.chunks * stages;
    options.layers_per_run.assign(static_cast<size_t>(runs), task.layers / runs);
  }
  return options;
}

}  // namespace fttrain
