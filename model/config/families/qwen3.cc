// Qwen 3: Qwen 2 without biases, with norms of each head's q and k.
#include "model/config/families/families.h"
#include "model/config/families/llama_keys.h"
#include "model/config/families/rope_keys.h"

namespace fttrain {

ModelSpec ReadQwen3(JsonKeys& keys) {
  LlamaShape shape = ReadShape(keys, {.kv_heads = 32, .head_dim = 128});
  RefuseBias(keys, "mlp_bias", "qwen3");
  shape.qkv_bias = shape.o_bias = keys.Bool("attention_bias", false);
  shape.qk_norm = true;
  ReadQwenWindows(keys, shape);
  ReadRope(keys, shape);
  ModelSpec model = LlamaLike(shape);
  model.eos_token_ids = EosTokenIds(keys, {});
  return model;
}

}  // namespace fttrain
