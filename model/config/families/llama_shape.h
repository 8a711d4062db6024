// The wiring of Llama, which most families share: norm, attention, norm, SwiGLU; and the sizes and
// switches that tell such a model from another.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/config/spec.h"

namespace fttrain {

// Modules of a layer's norms; empty: there is none.
struct NormNames {
  const char* before_attention = "input_layernorm";
  const char* after_attention = "";
  const char* before_mlp = "post_attention_layernorm";
  const char* after_mlp = "";
};

// Layers whose feed-forward is a mixture of experts.
struct ExpertShape {
  int64_t experts = 0;  // 0: no layer has them
  int64_t top_k = 1;
  int64_t intermediate_size = 0;
  bool renormalize = false;
  std::vector<bool> in_layer = {};  // [num_layers]; missing ones have experts
  // As MoeSpec has them; `corrected`: BLOCK.ROUTER.e_score_correction_bias.
  bool sigmoid = false, corrected = false;
  bool float32_router = false;  // as transformers keeps it (_keep_in_fp32_modules_strict)
  double scale = 1;
  int64_t groups = 1, top_groups = 1, group_best = 1;
  int64_t shared_size = 0;  // of BLOCK.shared_experts, an MLP beside the experts; 0: none
  // Modules: BLOCK.ROUTER, BLOCK.experts.<i>.GATE, ...
  const char *block = "mlp", *router = "gate";
  const char *gate = "gate_proj", *up = "up_proj", *down = "down_proj";
  // Files have one tensor of all experts, mlp.experts.gate_up_proj, gate and up in turn by columns,
  // and one mlp.experts.down_proj (LinearSpec::Stack).
  bool stacked = false;
  bool bias = false;                       // of router and experts
  std::optional<double> router_loss = {};  // as ModelSpec's
};

// Multi-head latent attention in every layer (LatentAttentionSpec).
struct LatentShape {
  int64_t kv_rank = 0;  // 0: attention is Llama's
  int64_t q_rank = 0;   // 0: q_proj reads what k and v do
  int64_t nope_dim = 0, rope_dim = 0, v_dim = 0;
  double eps = 1e-6;  // of the latents' norms
};

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
  RopeSpec rope = {};                   // its dim is rotary_dim
  std::vector<std::string> notes = {};  // as ModelSpec's

  // What later families have beside; the defaults are Llama's.
  int64_t rotary_dim = 0;                    // of each head's elements; 0: all
  std::optional<RopeSpec> window_rope = {};  // of the layers with a window, if it is another
  std::vector<bool> layer_has_rope = {};     // [num_layers]; missing ones have it
  NormNames norm_names = {};                 // norms of a layer
  NormForm norm = {};                        // all norms'; its eps is rms_norm_eps
  bool qk_norm_over_all_heads = false;       // with qk_norm
  bool parallel_blocks = false;              // attention and MLP read the same normed input
  bool fused_qkv = false,
       fused_gate_up = false;  // qkv_proj, gate_up_proj: one matrix, in this order
  double attention_scale = 0;  // 0: head_dim^-1/2
  double attention_soft_cap = 0;
  bool attention_sinks = false;
  GluForm activation = {};
  double embedding_scale = 1, residual_scale = 1, logit_scale = 1;
  bool rounds_embedding_scale = false;
  double logit_soft_cap = 0;
  ExpertShape moe = {};
  LatentShape latent = {};  // with attention_scale; its rope_dim is rotary_dim
};

ModelSpec LlamaLike(const LlamaShape& shape);

}  // namespace fttrain
