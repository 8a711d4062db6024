// Granite 3: Llama with four multipliers.
#include "model/config/families/families.h"
#include "model/config/families/llama_keys.h"
#include "model/config/families/rope_keys.h"

namespace fttrain {

ModelSpec ReadGranite(JsonKeys& keys) {
  LlamaShape shape = ReadShape(keys, {});
  shape.qkv_bias = shape.o_bias = keys.Bool("attention_bias", false);
  shape.mlp_bias = keys.Bool("mlp_bias", false);
  shape.embedding_scale = keys.Positive("embedding_multiplier", 1.0);
  shape.attention_scale = keys.Positive("attention_multiplier", 1.0);
  shape.residual_scale = keys.Positive("residual_multiplier", 1.0);
  shape.logit_scale = 1.0 / keys.Positive("logits_scaling", 1.0);
  ReadWindows(keys, /*window=*/0, /*first=*/0, shape);  // it knows none
  ReadRope(keys, shape);
  ModelSpec model = LlamaLike(shape);
  model.eos_token_ids = EosTokenIds(keys, {2});
  return model;
}

}  // namespace fttrain
