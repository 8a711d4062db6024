#include "model/config/families/gemma_keys.h"

#include <cmath>

namespace fttrain {

LlamaShape ReadGemmaShape(JsonKeys& keys) {
  LlamaShape shape = ReadShape(keys, {.kv_heads = 4,
                                      .head_dim = 256,
                                      .tied = true,
                                      .activation_key = "hidden_activation",
                                      .activation = "gelu_pytorch_tanh"});
  shape.qkv_bias = shape.o_bias = keys.Bool("attention_bias", false);
  RefuseBias(keys, "mlp_bias", "gemma");
  if (keys.Bool("use_bidirectional_attention", false)) {
    keys.Fail("use_bidirectional_attention", "is true: only causal attention is supported");
  }
  shape.norm.offset = 1.0;
  shape.norm.rounds_once = true;
  shape.norm_names = {"input_layernorm", "post_attention_layernorm", "pre_feedforward_layernorm",
                      "post_feedforward_layernorm"};
  shape.attention_scale = 1.0 / std::sqrt(keys.Positive("query_pre_attn_scalar", 256.0));
  shape.embedding_scale = std::sqrt(static_cast<double>(shape.hidden_size));
  shape.rounds_embedding_scale = true;
  return shape;
}

}  // namespace fttrain
