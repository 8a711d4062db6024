// Cohere 2 (Command R7B, Command A): one LayerNorm a layer, whose output attention and feed-forward
// read side by side; rotary embedding, in neighbouring pairs, in the layers with a window alone.
#include "model/config/families/families.h"
#include "model/config/families/llama_keys.h"
#include "model/config/families/rope_keys.h"

namespace fttrain {

ModelSpec ReadCohere2(JsonKeys& keys) {
  LlamaShape shape = ReadShape(keys, {.tied = true, .eps_key = "layer_norm_eps", .eps = 1e-5});
  if (keys.Find("head_dim") && shape.head_dim * shape.num_heads != shape.hidden_size) {
    keys.Fail("head_dim", absl::StrCat("is ", shape.head_dim,
                                       ": it is hidden_size / num_attention_heads in cohere2"));
  }
  shape.qkv_bias = shape.o_bias = keys.Bool("attention_bias", false);
  RefuseBias(keys, "mlp_bias", "cohere2");
  shape.norm.centered = true;
  shape.norm.rounds_once = true;
  shape.norm_names = {"input_layernorm", "", "", ""};
  shape.parallel_blocks = true;
  shape.logit_scale = keys.Positive("logit_scale", 0.0625);
  ReadWindowPattern(keys, SlidingWindow(keys), keys.Int("sliding_window_pattern", 1, 4), shape);
  for (const int64_t window : shape.layer_windows) shape.layer_has_rope.push_back(window > 0);
  ReadRope(keys, shape);
  shape.rope.interleaved = true;
  ModelSpec model = LlamaLike(shape);
  model.eos_token_ids = EosTokenIds(keys, {255001});
  return model;
}

}  // namespace fttrain
