#include "model/config/families/llama_shape.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"

namespace fttrain {
namespace {

// Builds one layer's linears and norms.
struct LayerNames {
  const LlamaShape& shape;
  std::string prefix;  // model.layers.<i>.

  NormSpec Norm(const char* name, int64_t size, bool per_head = false) const {
    return {prefix + name, size, shape.rms_norm_eps, per_head};
  }
  LinearSpec Column(const char* name, int64_t out, int64_t unit, bool bias) const {
    return {.name = prefix + name, .in = shape.hidden_size, .out = out, .unit = unit, .bias = bias};
  }
  LinearSpec Row(const char* name, int64_t in, int64_t unit, bool bias) const {
    return {.name = prefix + name,
            .in = in,
            .out = shape.hidden_size,
            .split = LinearSplit::kRow,
            .unit = unit,
            .bias = bias};
  }
};

AttentionSpec AttentionOf(const LayerNames& names, int64_t window) {
  const LlamaShape& shape = names.shape;
  const int64_t d = shape.head_dim;
  const int64_t queries = shape.num_heads * d, keys = shape.num_kv_heads * d;
  AttentionSpec attention;
  attention.q = names.Column("self_attn.q_proj", queries, d, shape.qkv_bias);
  attention.k = names.Column("self_attn.k_proj", keys, d, shape.qkv_bias);
  attention.v = names.Column("self_attn.v_proj", keys, d, shape.qkv_bias);
  attention.k.may_share = attention.v.may_share = true;
  attention.o = names.Row("self_attn.o_proj", queries, d, shape.o_bias);
  attention.heads = shape.num_heads;
  attention.kv_heads = shape.num_kv_heads;
  attention.head_dim = d;
  if (shape.qk_norm) {
    attention.q_norm = names.Norm("self_attn.q_norm", d, /*per_head=*/true);
    attention.k_norm = names.Norm("self_attn.k_norm", d, /*per_head=*/true);
  }
  attention.scale = 1.0 / std::sqrt(static_cast<double>(d));
  attention.window = window;
  return attention;
}

MlpSpec MlpOf(const LayerNames& names) {
  const LlamaShape& shape = names.shape;
  const int64_t ffn = shape.intermediate_size;
  return {.gate = names.Column("mlp.gate_proj", ffn, 1, shape.mlp_bias),
          .up = names.Column("mlp.up_proj", ffn, 1, shape.mlp_bias),
          .down = names.Row("mlp.down_proj", ffn, 1, shape.mlp_bias)};
}

}  // namespace

ModelSpec LlamaLike(const LlamaShape& shape) {
  ModelSpec model;
  model.hidden_size = shape.hidden_size;
  model.vocab_size = shape.vocab_size;
  model.max_position_embeddings = shape.max_position_embeddings;
  model.rope = shape.rope;
  model.rope.dim = shape.head_dim;
  model.notes = shape.notes;
  model.embedding = "model.embed_tokens";
  for (int64_t i = 0; i < shape.num_layers; ++i) {
    const LayerNames names{shape, absl::StrCat("model.layers.", i, ".")};
    const size_t index = static_cast<size_t>(i);
    const int64_t window = index < shape.layer_windows.size() ? shape.layer_windows[index] : 0;
    model.layers.push_back(
        {{names.Norm("input_layernorm", shape.hidden_size), AttentionOf(names, window)},
         {names.Norm("post_attention_layernorm", shape.hidden_size), MlpOf(names)}});
  }
  const bool tied = shape.tie_word_embeddings;
  model.head = {{"model.norm", shape.hidden_size, shape.rms_norm_eps},
                tied ? model.embedding : "lm_head",
                tied};
  return model;
}

}  // namespace fttrain
