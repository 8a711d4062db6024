// Mistral: Llama with a window in every layer, or in none.
#include "model/config/families/families.h"
#include "model/config/families/llama_keys.h"
#include "model/config/families/rope_keys.h"

namespace fttrain {

ModelSpec ReadMistral(JsonKeys& keys) {
  LlamaShape shape = ReadShape(keys, {.kv_heads = 8});
  RefuseBias(keys, "attention_bias", "mistral");
  RefuseBias(keys, "mlp_bias", "mistral");
  ReadOneWindow(keys, SlidingWindow(keys), shape);
  ReadRope(keys, shape);
  ModelSpec model = LlamaLike(shape);
  model.eos_token_ids = EosTokenIds(keys, {2});
  return model;
}

}  // namespace fttrain
