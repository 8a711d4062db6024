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
};
// Sizes, norms and tying. Refuses dropout and activations other than silu. ReadRope (rope_keys.h)
// does the rotary embedding, once the layers' windows are known.
LlamaShape ReadShape(JsonKeys& keys, const LlamaDefaults& defaults);

// Refuses `key` being true: the family does not have it.
void RefuseBias(JsonKeys& keys, const char* key, const char* family);

// shape.layer_windows: `window` where layer_types says so, without that key from layer `first` on.
void ReadWindows(JsonKeys& keys, int64_t window, int64_t first, LlamaShape& shape);
// sliding_window and the layers that have it, as both Qwen families read them.
void ReadQwenWindows(JsonKeys& keys, LlamaShape& shape);
// sliding_window; 0 where it is null.
int64_t SlidingWindow(JsonKeys& keys);

// eos_token_id; `absent` where the key is not there.
std::vector<int64_t> EosTokenIds(JsonKeys& keys, std::vector<int64_t> absent);

}  // namespace fttrain
