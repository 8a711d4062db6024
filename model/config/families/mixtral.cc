// Mixtral: Mistral with a mixture of experts in every layer.
#include "model/config/families/expert_keys.h"
#include "model/config/families/families.h"
#include "model/config/families/llama_keys.h"
#include "model/config/families/rope_keys.h"

namespace fttrain {

ModelSpec ReadMixtral(JsonKeys& keys) {
  LlamaShape shape = ReadShape(keys, {.kv_heads = 8, .eps = 1e-5});
  RefuseBias(keys, "attention_bias", "mixtral");
  RefuseBias(keys, "mlp_bias", "mixtral");
  ReadOneWindow(keys, SlidingWindowIfAny(keys), shape);
  ReadRope(keys, shape, {.theta = 1e6});
  ReadExperts(keys, /*experts=*/8, /*top_k=*/2, shape);
  if (const auto* noise = keys.Find("router_jitter_noise"); noise != nullptr && *noise != 0) {
    keys.Fail("router_jitter_noise", "is not 0: noise on what experts read is not computed");
  }
  shape.moe.intermediate_size = shape.intermediate_size;
  shape.moe.renormalize = true;
  shape.moe.block = "block_sparse_moe";
  shape.moe.gate = "w1";
  shape.moe.up = "w3";
  shape.moe.down = "w2";
  ModelSpec model = LlamaLike(shape);
  model.eos_token_ids = EosTokenIds(keys, {2});
  return model;
}

}  // namespace fttrain
