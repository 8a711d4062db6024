// SmolLM3: Llama with layers without rotary embedding, which alone have a window if there is one.
#include "model/config/families/families.h"
#include "model/config/families/llama_keys.h"
#include "model/config/families/rope_keys.h"

namespace fttrain {
namespace {

// no_rope_layers: 1 where there is rotary embedding, as transformers has it; else all layers but
// each no_rope_layer_interval-th.
std::vector<bool> LayersWithRope(JsonKeys& keys, int64_t num_layers) {
  const JsonKeys::Json* list = keys.Find("no_rope_layers");
  const int64_t interval = keys.Int("no_rope_layer_interval", 1, 4);
  std::vector<bool> layers;
  for (int64_t i = 0; i < num_layers; ++i) layers.push_back((i + 1) % interval != 0);
  if (list == nullptr) return layers;
  if (!list->is_array() || static_cast<int64_t>(list->size()) < num_layers) {
    keys.Fail("no_rope_layers",
              absl::StrCat("must list num_hidden_layers = ", num_layers, " entries"));
    return layers;
  }
  for (size_t i = 0; i < layers.size(); ++i) {
    const JsonKeys::Json& entry = (*list)[i];
    if (entry != 0 && entry != 1) keys.Fail("no_rope_layers", "holds other than 0 and 1");
    layers[i] = entry == 1;
  }
  return layers;
}

}  // namespace

ModelSpec ReadSmolLm3(JsonKeys& keys) {
  LlamaShape shape = ReadShape(keys, {.kv_heads = 4, .tied = true});
  shape.qkv_bias = shape.o_bias = keys.Bool("attention_bias", false);
  shape.mlp_bias = keys.Bool("mlp_bias", false);
  shape.layer_has_rope = LayersWithRope(keys, shape.num_layers);
  const int64_t window = keys.Bool("use_sliding_window", false) ? SlidingWindowIfAny(keys) : 0;
  // layer_types decides where it is there.
  ReadWindows(keys, window, /*first=*/0, shape);
  if (!keys.Find("layer_types")) {
    for (size_t i = 0; i < shape.layer_windows.size(); ++i) {
      if (shape.layer_has_rope[i]) shape.layer_windows[i] = 0;
    }
  }
  ReadRope(keys, shape, {.theta = 2e6});
  ModelSpec model = LlamaLike(shape);
  model.eos_token_ids = EosTokenIds(keys, {128001});
  return model;
}

}  // namespace fttrain
