// Mistral: Llama with a window in every layer, or in none.
#include <algorithm>

#include "model/config/families/families.h"
#include "model/config/families/llama_keys.h"
#include "model/config/families/rope_keys.h"

namespace fttrain {

ModelSpec ReadMistral(JsonKeys& keys) {
  LlamaShape shape = ReadShape(keys, {.kv_heads = 8});
  RefuseBias(keys, "attention_bias", "mistral");
  RefuseBias(keys, "mlp_bias", "mistral");
  const int64_t window = SlidingWindow(keys);
  ReadWindows(keys, window, /*first=*/0, shape);
  // transformers' Mistral ignores layer_types.
  const std::vector<int64_t>& windows = shape.layer_windows;
  if (std::count(windows.begin(), windows.end(), window) != shape.num_layers) {
    keys.Fail("layer_types", "contradicts 'sliding_window'");
  }
  ReadRope(keys, shape);
  ModelSpec model = LlamaLike(shape);
  model.eos_token_ids = EosTokenIds(keys, {2});
  return model;
}

}  // namespace fttrain
