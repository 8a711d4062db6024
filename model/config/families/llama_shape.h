// The wiring of Llama, which most families share: norm, attention, norm, SwiGLU; and the sizes and
// switches that tell such a model from another.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/config/spec.h"

namespace fttrain {

struct LlamaShape {
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;  // divides num_heads
  int64_t head_dim = 0;      // even; num_heads * head_dim may differ from hidden_size
  int64_t vocab_size = 0;
  int64_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-6;
  bool tie_word_embeddings = false;  // lm_head.weight is model.embed_tokens.weight
  bool qkv_bias = false;
  bool o_bias = false;
  bool mlp_bias = false;
  bool qk_norm = false;  // RMSNorm over head_dim of q and k, before rotary
  // [num_layers] as AttentionSpec::window; missing ones are 0.
  std::vector<int64_t> layer_windows = {};
  RopeSpec rope = {};                   // its dim is head_dim
  std::vector<std::string> notes = {};  // as ModelSpec's
};

ModelSpec LlamaLike(const LlamaShape& shape);

}  // namespace fttrain
