// GLM-4 (0414): norms before and behind both blocks, biases of q, k and v, a part of each head that
// turns, in neighbouring pairs, and gate and up in one matrix.
#include "model/config/families/families.h"
#include "model/config/families/llama_keys.h"
#include "model/config/families/rope_keys.h"

namespace fttrain {

ModelSpec ReadGlm4(JsonKeys& keys) {
  LlamaShape shape = ReadShape(keys, {.kv_heads = 2, .head_dim = 128, .eps = 1.5625e-7});
  shape.qkv_bias = keys.Bool("attention_bias", true);
  RefuseBias(keys, "mlp_bias", "glm4");
  shape.norm_names = {"input_layernorm", "post_self_attn_layernorm", "post_attention_layernorm",
                      "post_mlp_layernorm"};
  shape.fused_gate_up = true;
  ReadWindows(keys, /*window=*/0, /*first=*/0, shape);  // it knows none
  ReadRope(keys, shape, {.partial = true, .partial_absent = 0.5});
  shape.rope.interleaved = true;
  ModelSpec model = LlamaLike(shape);
  // null counts as absent.
  model.eos_token_ids = keys.Find("eos_token_id") ? EosTokenIds(keys, {})
                                                  : std::vector<int64_t>{151329, 151336, 151338};
  return model;
}

}  // namespace fttrain
