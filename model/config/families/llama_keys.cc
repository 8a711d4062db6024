#include "model/config/families/llama_keys.h"

#include <algorithm>

namespace fttrain {
namespace {

using Json = JsonKeys::Json;

constexpr int64_t kMaxLayers = 10'000;

void RefuseDropout(JsonKeys& keys) {
  if (const Json* dropout = keys.Find("attention_dropout"); dropout != nullptr && *dropout != 0) {
    keys.Fail("attention_dropout",
              absl::StrCat("is ", Printable(dropout->dump()), ", only 0 is supported"));
  }
}

Activation ReadActivation(JsonKeys& keys, const LlamaDefaults& defaults) {
  const std::string name = keys.Text(defaults.activation_key, defaults.activation);
  if (name == "silu") return Activation::kSilu;
  if (name != "gelu_pytorch_tanh") {
    keys.Fail(
        defaults.activation_key,
        absl::StrCat("'", Printable(name), "' is not supported (silu and gelu_pytorch_tanh are)"));
  }
  return Activation::kGeluTanh;
}

void ReadHeads(JsonKeys& keys, const LlamaDefaults& defaults, LlamaShape& shape) {
  // An explicit null means "as many as heads" in every family.
  const bool is_null = keys.Contains("num_key_value_heads") || defaults.kv_heads == 0;
  shape.num_kv_heads =
      keys.Int("num_key_value_heads", 1, is_null ? shape.num_heads : defaults.kv_heads);
  if (shape.num_heads % shape.num_kv_heads != 0) {
    keys.Fail("num_key_value_heads",
              absl::StrCat("is ", shape.num_kv_heads, ", must divide num_attention_heads ",
                           shape.num_heads));
  }
  if (!keys.Find("head_dim") && defaults.head_dim == 0 &&
      shape.hidden_size % shape.num_heads != 0) {
    keys.Fail("hidden_size",
              absl::StrCat("is ", shape.hidden_size, ", must be a multiple of num_attention_heads ",
                           shape.num_heads, " where head_dim is not given"));
  }
  shape.head_dim =
      keys.Int("head_dim", 2,
               defaults.head_dim != 0 ? defaults.head_dim : shape.hidden_size / shape.num_heads);
  if (shape.head_dim % 2 != 0) {
    keys.Fail("head_dim", absl::StrCat("is ", shape.head_dim, ", must be even (rotary pairs)"));
  }
}

// layer_types as a list of "has a window"; empty if the key is absent.
std::vector<bool> ReadLayerTypes(JsonKeys& keys, int64_t num_layers) {
  const Json* types = keys.Find("layer_types");
  if (types == nullptr) return {};
  std::vector<bool> windowed;
  for (const Json& type : *types) {
    if (type != "full_attention" && type != "sliding_attention") {
      keys.Fail("layer_types",
                absl::StrCat("holds ", Printable(type.dump()),
                             " (full_attention and sliding_attention are supported)"));
    }
    windowed.push_back(type == "sliding_attention");
  }
  if (!types->is_array() || static_cast<int64_t>(windowed.size()) != num_layers) {
    keys.Fail("layer_types",
              absl::StrCat("must list num_hidden_layers = ", num_layers, " entries"));
    windowed.assign(num_layers, false);
  }
  return windowed;
}

}  // namespace

LlamaShape ReadShape(JsonKeys& keys, const LlamaDefaults& defaults) {
  RefuseDropout(keys);
  LlamaShape shape;
  shape.activation = ReadActivation(keys, defaults);
  shape.hidden_size = keys.Int("hidden_size", 1);
  shape.intermediate_size = keys.Int("intermediate_size", 1);
  shape.num_layers = keys.Int("num_hidden_layers", 1);
  shape.num_heads = keys.Int("num_attention_heads", 1);
  shape.vocab_size = keys.Int("vocab_size", 1);
  shape.max_position_embeddings = keys.Int("max_position_embeddings", 1);
  shape.rms_norm_eps = keys.Positive(defaults.eps_key, defaults.eps);
  shape.tie_word_embeddings = keys.Bool("tie_word_embeddings", defaults.tied);
  if (shape.num_layers > kMaxLayers) {
    keys.Fail("num_hidden_layers", absl::StrCat("exceeds ", kMaxLayers));
    shape.num_layers = 1;  // nothing of that size is built
  }
  ReadHeads(keys, defaults, shape);
  return shape;
}

void RefuseBias(JsonKeys& keys, const char* key, const char* family) {
  if (keys.Bool(key, false)) keys.Fail(key, absl::StrCat("is not a key of ", family));
}

int64_t SlidingWindow(JsonKeys& keys) {
  const bool is_null = keys.Contains("sliding_window") && !keys.Find("sliding_window");
  return is_null ? 0 : keys.Int("sliding_window", 1, 4096);
}

int64_t SlidingWindowIfAny(JsonKeys& keys) {
  return keys.Find("sliding_window") ? SlidingWindow(keys) : 0;
}

double PositiveOrNone(JsonKeys& keys, const char* key, double absent) {
  const bool is_null = keys.Contains(key) && !keys.Find(key);
  return is_null || (absent == 0 && !keys.Find(key)) ? 0.0 : keys.Positive(key, absent);
}

namespace {

// shape.layer_windows where layer_types says so, else where `has` does.
template <typename Has>
void SetWindows(JsonKeys& keys, int64_t window, const Has& has, LlamaShape& shape) {
  std::vector<bool> windowed = ReadLayerTypes(keys, shape.num_layers);
  if (windowed.empty()) {
    for (int64_t layer = 0; layer < shape.num_layers; ++layer) windowed.push_back(has(layer));
  }
  // A window without a size means nothing.
  const bool any = std::find(windowed.begin(), windowed.end(), true) != windowed.end();
  if (any && window == 0) keys.Fail("layer_types", "contradicts 'sliding_window'");
  for (const bool each : windowed) shape.layer_windows.push_back(each ? window : 0);
}

}  // namespace

void ReadWindows(JsonKeys& keys, int64_t window, int64_t first, LlamaShape& shape) {
  SetWindows(
      keys, window, [&](int64_t layer) { return window > 0 && layer >= first; }, shape);
}

void ReadWindowPattern(JsonKeys& keys, int64_t window, int64_t period, LlamaShape& shape) {
  SetWindows(
      keys, window, [&](int64_t layer) { return (layer + 1) % period != 0; }, shape);
}

void ReadOneWindow(JsonKeys& keys, int64_t window, LlamaShape& shape) {
  ReadWindows(keys, window, /*first=*/0, shape);
  const std::vector<int64_t>& windows = shape.layer_windows;
  if (std::count(windows.begin(), windows.end(), window) != shape.num_layers) {
    keys.Fail("layer_types", "contradicts 'sliding_window'");
  }
}

void ReadQwenWindows(JsonKeys& keys, LlamaShape& shape) {
  const int64_t window = keys.Bool("use_sliding_window", false) ? SlidingWindow(keys) : 0;
  ReadWindows(keys, window, keys.Int("max_window_layers", 0, 28), shape);
}

std::vector<int64_t> EosTokenIds(JsonKeys& keys, std::vector<int64_t> absent) {
  return keys.Contains("eos_token_id") ? keys.Ids("eos_token_id") : absent;
}

}  // namespace fttrain
