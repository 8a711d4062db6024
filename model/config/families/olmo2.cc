// OLMo 2: norms behind both blocks, none before; norms of q and k over all heads together.
#include "model/config/families/families.h"
#include "model/config/families/llama_keys.h"
#include "model/config/families/rope_keys.h"

namespace fttrain {

ModelSpec ReadOlmo2(JsonKeys& keys) {
  LlamaShape shape = ReadShape(keys, {.eps = 1e-5});
  shape.qkv_bias = shape.o_bias = keys.Bool("attention_bias", false);
  RefuseBias(keys, "mlp_bias", "olmo2");
  shape.norm.rounds_once = true;
  shape.norm_names = {"", "post_attention_layernorm", "", "post_feedforward_layernorm"};
  shape.qk_norm = shape.qk_norm_over_all_heads = true;
  ReadWindows(keys, /*window=*/0, /*first=*/0, shape);  // it knows none
  ReadRope(keys, shape);
  ModelSpec model = LlamaLike(shape);
  model.eos_token_ids = EosTokenIds(keys, {50279});
  return model;
}

}  // namespace fttrain
