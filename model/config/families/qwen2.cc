// Qwen 2, 2.5: Llama with biases of q, k and v, and a window in the upper layers if asked.
#include "model/config/families/families.h"
#include "model/config/families/llama_keys.h"
#include "model/config/families/rope_keys.h"

namespace fttrain {

ModelSpec ReadQwen2(JsonKeys& keys) {
  LlamaShape shape = ReadShape(keys, {.kv_heads = 32});
  RefuseBias(keys, "attention_bias", "qwen2");
  RefuseBias(keys, "mlp_bias", "qwen2");
  shape.qkv_bias = true;
  ReadQwenWindows(keys, shape);
  ReadRope(keys, shape);
  ModelSpec model = LlamaLike(shape);
  model.eos_token_ids = EosTokenIds(keys, {});
  return model;
}

}  // namespace fttrain
