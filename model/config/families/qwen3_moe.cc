// Qwen 3 MoE: Qwen 3 with a mixture of experts in some layers.
#include <algorithm>

#include "model/config/families/expert_keys.h"
#include "model/config/families/families.h"
#include "model/config/families/llama_keys.h"
#include "model/config/families/rope_keys.h"

namespace fttrain {
namespace {

// Every decoder_sparse_step-th layer, without those of mlp_only_layers.
std::vector<bool> LayersWithExperts(JsonKeys& keys, int64_t num_layers) {
  const int64_t step = keys.Int("decoder_sparse_step", 1, 1);
  std::vector<bool> has;
  for (int64_t layer = 0; layer < num_layers; ++layer) has.push_back((layer + 1) % step == 0);
  const auto* dense = keys.Find("mlp_only_layers");
  if (dense == nullptr) return has;
  if (!dense->is_array()) {
    keys.Fail("mlp_only_layers", "must be a list of layers");
    return has;
  }
  for (const auto& layer : *dense) {
    if (!layer.is_number_integer()) {
      keys.Fail("mlp_only_layers", "must be a list of layers");
      continue;
    }
    const auto index = layer.get<int64_t>();  // of no layer: without effect, as in transformers
    if (index >= 0 && index < num_layers) has[static_cast<size_t>(index)] = false;
  }
  return has;
}

}  // namespace

ModelSpec ReadQwen3Moe(JsonKeys& keys) {
  LlamaShape shape = ReadShape(keys, {.kv_heads = 4});
  RefuseBias(keys, "mlp_bias", "qwen3_moe");
  shape.qkv_bias = shape.o_bias = keys.Bool("attention_bias", false);
  shape.qk_norm = true;
  const bool windows = keys.Bool("use_sliding_window", false);
  ReadOneWindow(keys, windows ? SlidingWindow(keys) : 0, shape);
  ReadRope(keys, shape);
  ReadExperts(keys, /*experts=*/128, /*top_k=*/8, shape);
  shape.moe.intermediate_size = keys.Int("moe_intermediate_size", 1, 768);
  shape.moe.renormalize = keys.Bool("norm_topk_prob", false);
  shape.moe.in_layer = LayersWithExperts(keys, shape.num_layers);
  ModelSpec model = LlamaLike(shape);
  model.eos_token_ids = EosTokenIds(keys, {});
  return model;
}

}  // namespace fttrain
