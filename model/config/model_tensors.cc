// The weight-name table of the families: one place that says which tensors a config implies.
#include "absl/strings/str_cat.h"
#include "model/config/model_config.h"

namespace fttrain {
namespace {

void AddLinear(std::vector<TensorSpec>& tensors, const std::string& name, int64_t out, int64_t in,
               bool bias) {
  tensors.push_back({absl::StrCat(name, ".weight"), {out, in}});
  if (bias) tensors.push_back({absl::StrCat(name, ".bias"), {out}});
}

void AddLayer(std::vector<TensorSpec>& tensors, const ModelConfig& config, int64_t layer) {
  const int64_t hidden = config.hidden_size, ffn = config.intermediate_size;
  const int64_t queries = config.num_heads * config.head_dim;
  const int64_t keys = config.num_kv_heads * config.head_dim;
  const std::string prefix = absl::StrCat("model.layers.", layer, ".");
  const std::string attention = prefix + "self_attn.", mlp = prefix + "mlp.";
  tensors.push_back({prefix + "input_layernorm.weight", {hidden}});
  AddLinear(tensors, attention + "q_proj", queries, hidden, config.qkv_bias);
  AddLinear(tensors, attention + "k_proj", keys, hidden, config.qkv_bias);
  AddLinear(tensors, attention + "v_proj", keys, hidden, config.qkv_bias);
  AddLinear(tensors, attention + "o_proj", hidden, queries, config.o_bias);
  if (config.qk_norm) {
    tensors.push_back({attention + "q_norm.weight", {config.head_dim}});
    tensors.push_back({attention + "k_norm.weight", {config.head_dim}});
  }
  tensors.push_back({prefix + "post_attention_layernorm.weight", {hidden}});
  AddLinear(tensors, mlp + "gate_proj", ffn, hidden, config.mlp_bias);
  AddLinear(tensors, mlp + "up_proj", ffn, hidden, config.mlp_bias);
  AddLinear(tensors, mlp + "down_proj", hidden, ffn, config.mlp_bias);
}

}  // namespace

std::vector<TensorSpec> ModelTensors(const ModelConfig& config) {
  std::vector<TensorSpec> tensors;
  tensors.push_back({"model.embed_tokens.weight", {config.vocab_size, config.hidden_size}});
  for (int64_t layer = 0; layer < config.num_layers; ++layer) AddLayer(tensors, config, layer);
  tensors.push_back({"model.norm.weight", {config.hidden_size}});
  if (!config.tie_word_embeddings) {
    tensors.push_back({"lm_head.weight", {config.vocab_size, config.hidden_size}});
  }
  return tensors;
}

}  // namespace fttrain
