// The keys of config.json that families of Llama's wiring share. Every function reports what is
// wrong or cannot be computed with JsonKeys::Fail. Include in .cc files only.
#pragma once

#include <vector>

#include "model/config/families/llama_shape.h"
#include "runtime/files/json.h"

namespace fttrain {

// transformers' defaults for keys that a file does not have.
struct LlamaDefaults {
  int64_t kv_heads = 0;  // 0: the number of heads
  int64_t head_dim = 0;  // 0: hidden_size / heads
  bool tied = false;
  const char* eps_key = "rms_norm_eps";
  double eps = 1e-6;
  const char* activation_key = "hidden_act";
  const char* activation = "silu";
};
// Sizes, activation, the norms' eps, and tying. Refuses dropout and activations that are not
// computed here. ReadRope (rope_keys.h) does the rotary embedding, once the layers' windows are
// known.
LlamaShape ReadShape(JsonKeys& keys, const LlamaDefaults& defaults);

// Refuses `key` being true: the family does not have it.
void RefuseBias(JsonKeys& keys, const char* key, const char* family);

// shape.layer_windows: `window` where layer_types says so, without that key from layer `first` on.
void ReadWindows(JsonKeys& keys, int64_t window, int64_t first, LlamaShape& shape);
// `window` in every layer, of families for which transformers does not read layer_types: refuses
// one that says otherwise.
void ReadOneWindow(JsonKeys& keys, int64_t window, LlamaShape& shape);
// sliding_window and the layers that have it, as both Qwen families read them.
void ReadQwenWindows(JsonKeys& keys, LlamaShape& shape);
// `window` in all layers but each period-th, where layer_types does not say it.
void ReadWindowPattern(JsonKeys& keys, int64_t window, int64_t period, LlamaShape& shape);
// sliding_window; 0 where it is null.
int64_t SlidingWindow(JsonKeys& keys);
// The same of families that have none where the key is absent.
int64_t SlidingWindowIfAny(JsonKeys& keys);

// A number that may be null or absent, which is 0 then.
double PositiveOrNone(JsonKeys& keys, const char* key, double absent);

// eos_token_id; `absent` where the key is not there.
std::vector<int64_t> EosTokenIds(JsonKeys& keys, std::vector<int64_t> absent);

}  // namespace fttrain
