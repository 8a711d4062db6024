// Switches of a shape that make of the tiny model one of each family's wiring.
#pragma once

#include "model/config/families/llama_shape.h"

namespace fttrain {

// Norms before and behind both blocks with weights of 1 + w, GeGLU, soft caps, a window in one
// layer.
inline void LikeGemma2(LlamaShape& shape) {
  shape.norm.offset = 1;
  shape.norm.rounds_once = true;
  shape.norm_names = {"input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm",
                      "post_feedforward_layernorm"};
  shape.activation = Activation::kGeluTanh;
  shape.attention_scale = 0.4;
  shape.attention_soft_cap = 1.5;
  shape.logit_soft_cap = 2.0;
  shape.embedding_scale = 5.5;
  shape.layer_windows = {0, 3};
}

// The same without caps, with norms of each head, and another rotation in layers with a window.
inline void LikeGemma3(LlamaShape& shape) {
  LikeGemma2(shape);
  shape.attention_soft_cap = shape.logit_soft_cap = 0;
  shape.qk_norm = true;
  shape.window_rope = RopeSpec{.theta = 300.0};
}

// Norms behind blocks alone, and of all heads together.
inline void LikeOlmo2(LlamaShape& shape) {
  shape.norm.rounds_once = true;
  shape.norm_names = {"", "post_attention_layernorm", "", "post_feedforward_layernorm"};
  shape.qk_norm = shape.qk_norm_over_all_heads = true;
}

// Multipliers.
inline void LikeGranite(LlamaShape& shape) {
  shape.embedding_scale = 6.0;
  shape.attention_scale = 0.15;
  shape.residual_scale = 0.6;
  shape.logit_scale = 2.0;
}

// Blocks side by side behind one LayerNorm; neighbouring pairs; a layer without rotation.
inline void LikeCohere2(LlamaShape& shape) {
  shape.norm.centered = shape.norm.rounds_once = true;
  shape.norm_names = {"input_layernorm", "", "", ""};
  shape.parallel_blocks = true;
  shape.logit_scale = 0.6;
  shape.rope.interleaved = true;
  shape.layer_windows = {0, 3};
  shape.layer_has_rope = {false, true};
}

// Four norms, a part of each head that turns in neighbouring pairs, gate and up in one matrix.
inline void LikeGlm4(LlamaShape& shape) {
  shape.norm_names = {"input_layernorm", "post_self_attn_layernorm", "post_attention_layernorm",
                      "post_mlp_layernorm"};
  shape.qkv_bias = true;
  shape.fused_gate_up = true;
  shape.rotary_dim = shape.head_dim / 4 * 2;
  shape.rope.interleaved = true;
}

// q, k and v in one matrix, gate and up in another; a part of each head turns.
inline void LikePhi3(LlamaShape& shape) {
  shape.fused_qkv = shape.fused_gate_up = true;
  shape.rotary_dim = shape.head_dim / 4 * 2;
}

// Experts in every layer, of which two take a token with shares that sum to one.
inline void LikeMixtral(LlamaShape& shape) {
  shape.moe = {.experts = 4,
               .top_k = 2,
               .intermediate_size = 20,
               .renormalize = true,
               .block = "block_sparse_moe",
               .gate = "w1",
               .up = "w3",
               .down = "w2"};
}

// Experts in all layers but the first, with their bare probabilities; norms of each head.
inline void LikeQwen3Moe(LlamaShape& shape) {
  shape.qk_norm = true;
  shape.moe = {.experts = 5, .top_k = 3, .intermediate_size = 12, .in_layer = {false}};
}

// Latent attention, of values shorter than queries and of queries without a latent; experts by
// their softmax of few groups, beside one that every token takes.
inline void LikeDeepseekV2(LlamaShape& shape) {
  shape.num_kv_heads = shape.num_heads;
  shape.latent = {.kv_rank = 10, .nope_dim = 6, .rope_dim = 4, .v_dim = 7, .eps = 1e-4};
  shape.rotary_dim = 4;
  shape.rope.interleaved = true;
  shape.attention_scale = 0.4;
  shape.moe = {.experts = 6,
               .top_k = 2,
               .intermediate_size = 12,
               .in_layer = {false},
               .float32_router = true,
               .scale = 1.5,
               .groups = 3,
               .top_groups = 2,
               .shared_size = 8};
}

// With latents of queries, longer values, biases; experts by corrected sigmoids.
inline void LikeDeepseekV3(LlamaShape& shape) {
  LikeDeepseekV2(shape);
  shape.latent.q_rank = 9;
  shape.latent.v_dim = 11;
  shape.qkv_bias = shape.o_bias = true;
  shape.moe.renormalize = shape.moe.sigmoid = shape.moe.corrected = true;
  shape.moe.experts = 8;
  shape.moe.groups = 4;
  shape.moe.group_best = 2;
  shape.moe.top_groups = 3;
  shape.moe.top_k = 4;
}

// Sinks, biases, a window in the first layer; experts in one tensor with biases and a gate whose
// limits are often met.
inline void LikeGptOss(LlamaShape& shape) {
  shape.norm.rounds_once = true;
  shape.qkv_bias = shape.o_bias = shape.attention_sinks = true;
  shape.activation = Activation::kClampedSwish;
  shape.activation.limit = 0.7;
  shape.layer_windows = {3, 0};
  shape.moe = {.experts = 4,
               .top_k = 2,
               .intermediate_size = 12,
               .renormalize = true,
               .router = "router",
               .stacked = true,
               .bias = true};
}

// Each of them.
struct FamilyShape {
  const char* name;
  void (*apply)(LlamaShape&);
};
inline constexpr FamilyShape kFamilyShapes[] = {{"Gemma2", LikeGemma2},
                                                {"Gemma3", LikeGemma3},
                                                {"Olmo2", LikeOlmo2},
                                                {"Granite", LikeGranite},
                                                {"Cohere2", LikeCohere2},
                                                {"Glm4", LikeGlm4},
                                                {"Phi3", LikePhi3},
                                                {"Mixtral", LikeMixtral},
                                                {"Qwen3Moe", LikeQwen3Moe},
                                                {"DeepseekV2", LikeDeepseekV2},
                                                {"DeepseekV3", LikeDeepseekV3},
                                                {"GptOss", LikeGptOss}};

}  // namespace fttrain
