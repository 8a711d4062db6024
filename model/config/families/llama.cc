// Llama 2, 3, 3.x.
#include "model/config/families/families.h"
#include "model/config/families/llama_keys.h"
#include "model/config/families/rope_keys.h"

namespace fttrain {

ModelSpec ReadLlama(JsonKeys& keys) {
  LlamaShape shape = ReadShape(keys, {});
  shape.qkv_bias = shape.o_bias = keys.Bool("attention_bias", false);
  shape.mlp_bias = keys.Bool("mlp_bias", false);
  ReadWindows(keys, /*window=*/0, /*first=*/0, shape);  // it knows none
  ReadRope(keys, shape);
  ModelSpec model = LlamaLike(shape);
  model.eos_token_ids = EosTokenIds(keys, {2});
  return model;
}

}  // namespace fttrain
