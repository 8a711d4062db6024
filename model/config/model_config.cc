#include "model/config/model_config.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/config/json_keys.h"
#include "model/config/quantization_config.h"
#include "runtime/files/safetensors.h"
#include "runtime/files/strict_json.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

using Json = nlohmann::json;
using Keys = JsonKeys;

constexpr int64_t kMaxConfigBytes = 16 << 20;

struct FamilyRow {
  ModelFamily family;
  const char* model_type;
  const char* architecture;
  int64_t default_kv_heads;  // 0: the number of heads
  int64_t default_head_dim;  // 0: hidden_size / heads
};
constexpr FamilyRow kFamilies[] = {
    {ModelFamily::kLlama, "llama", "LlamaForCausalLM", 0, 0},
    {ModelFamily::kMistral, "mistral", "MistralForCausalLM", 8, 0},
    {ModelFamily::kQwen2, "qwen2", "Qwen2ForCausalLM", 32, 0},
    {ModelFamily::kQwen3, "qwen3", "Qwen3ForCausalLM", 32, 128},
};

const FamilyRow* ReadFamily(Keys& keys) {
  const std::string type = keys.Text("model_type", "");
  for (const FamilyRow& row : kFamilies) {
    if (type != row.model_type) continue;
    const Json* architectures = keys.Find("architectures");
    if (architectures != nullptr && *architectures != Json::array({row.architecture})) {
      keys.Fail("architectures", absl::StrCat("is ", Printable(architectures->dump()), "; of ",
                                              type, " only ", row.architecture, " is supported"));
    }
    return &row;
  }
  keys.Fail("model_type", absl::StrCat("'", Printable(type),
                                       "' is not supported (llama, mistral, qwen2, qwen3 are)"));
  return nullptr;
}

// What would change the computation in ways we do not have.
void RefuseUnsupported(Keys& keys, ModelFamily family) {
  if (const Json* dropout = keys.Find("attention_dropout"); dropout != nullptr && *dropout != 0) {
    keys.Fail("attention_dropout",
              absl::StrCat("is ", Printable(dropout->dump()), ", only 0 is supported"));
  }
  const std::string activation = keys.Text("hidden_act", "silu");
  if (activation != "silu") {
    keys.Fail("hidden_act",
              absl::StrCat("'", Printable(activation), "' is not supported (silu is)"));
  }
  if (keys.Find("partial_rotary_factor") && keys.Positive("partial_rotary_factor") != 1.0) {
    keys.Fail("partial_rotary_factor", "other than 1 is not supported");
  }
  const bool may_have_bias = family == ModelFamily::kLlama || family == ModelFamily::kQwen3;
  if (!may_have_bias && keys.Bool("attention_bias", false)) {
    keys.Fail("attention_bias", absl::StrCat("is not a key of ", ModelFamilyName(family).data()));
  }
  if (family != ModelFamily::kLlama && keys.Bool("mlp_bias", false)) {
    keys.Fail("mlp_bias", absl::StrCat("is not a key of ", ModelFamilyName(family).data()));
  }
}

void ReadSizes(Keys& keys, const FamilyRow& row, ModelConfig& config) {
  config.family = row.family;
  config.hidden_size = keys.Int("hidden_size", 1);
  config.intermediate_size = keys.Int("intermediate_size", 1);
  config.num_layers = keys.Int("num_hidden_layers", 1);
  config.num_heads = keys.Int("num_attention_heads", 1);
  config.vocab_size = keys.Int("vocab_size", 1);
  config.max_position_embeddings = keys.Int("max_position_embeddings", 1);
  config.rms_norm_eps = keys.Positive("rms_norm_eps", 1e-6);
  config.tie_word_embeddings = keys.Bool("tie_word_embeddings", false);
  if (config.num_layers > 10'000) keys.Fail("num_hidden_layers", "exceeds 10000");

  // An explicit null means "as many as heads" in every family.
  const bool is_null = keys.Contains("num_key_value_heads") || row.default_kv_heads == 0;
  config.num_kv_heads =
      keys.Int("num_key_value_heads", 1, is_null ? config.num_heads : row.default_kv_heads);
  if (config.num_heads % config.num_kv_heads != 0) {
    keys.Fail("num_key_value_heads",
              absl::StrCat("is ", config.num_kv_heads, ", must divide num_attention_heads ",
                           config.num_heads));
  }
  if (!keys.Find("head_dim") && row.default_head_dim == 0 &&
      config.hidden_size % config.num_heads != 0) {
    keys.Fail("hidden_size", absl::StrCat("is ", config.hidden_size,
                                          ", must be a multiple of num_attention_heads ",
                                          config.num_heads, " where head_dim is not given"));
  }
  config.head_dim = keys.Int(
      "head_dim", 2,
      row.default_head_dim != 0 ? row.default_head_dim : config.hidden_size / config.num_heads);
  if (config.head_dim % 2 != 0) {
    keys.Fail("head_dim", absl::StrCat("is ", config.head_dim, ", must be even (rotary pairs)"));
  }
}

void ReadVariants(Keys& keys, ModelConfig& config) {
  const bool attention_bias = keys.Bool("attention_bias", false);
  config.qkv_bias = attention_bias || config.family == ModelFamily::kQwen2;
  config.o_bias = attention_bias;
  config.mlp_bias = keys.Bool("mlp_bias", false);
  config.qk_norm = config.family == ModelFamily::kQwen3;
  config.torch_dtype = keys.Text("dtype", keys.Text("torch_dtype", ""));

  const bool has_defaults =
      config.family == ModelFamily::kLlama || config.family == ModelFamily::kMistral;
  config.eos_token_ids = keys.Ids("eos_token_id");
  if (has_defaults && !keys.Contains("eos_token_id")) config.eos_token_ids = {2};
  const auto one = [&](const char* key) -> std::optional<int64_t> {
    const std::vector<int64_t> ids = keys.Ids(key);
    if (ids.size() > 1) keys.Fail(key, "must be one token id");
    return ids.empty() ? std::optional<int64_t>() : ids[0];
  };
  config.bos_token_id = one("bos_token_id");
  if (has_defaults && !keys.Contains("bos_token_id")) config.bos_token_id = 1;
  // Some files say -1 for "no padding token".
  const Json* pad = keys.Find("pad_token_id");
  if (pad == nullptr || *pad != -1) config.pad_token_id = one("pad_token_id");
}

// layer_types as a list of "has a window"; empty if the key is absent.
std::vector<bool> ReadLayerTypes(Keys& keys, int64_t num_layers) {
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

void ReadWindows(Keys& keys, ModelConfig& config) {
  const bool is_qwen = config.family == ModelFamily::kQwen2 || config.family == ModelFamily::kQwen3;
  const bool is_mistral = config.family == ModelFamily::kMistral;
  int64_t window = 0;
  if (is_mistral || (is_qwen && keys.Bool("use_sliding_window", false))) {
    const bool is_null = keys.Contains("sliding_window") && !keys.Find("sliding_window");
    window = is_null ? 0 : keys.Int("sliding_window", 1, 4096);
  }
  const int64_t first = is_qwen ? keys.Int("max_window_layers", 0, 28) : 0;
  std::vector<bool> windowed = ReadLayerTypes(keys, config.num_layers);
  if (windowed.empty()) {
    for (int64_t layer = 0; layer < config.num_layers; ++layer) {
      windowed.push_back(window > 0 && layer >= first);
    }
  }
  // Mistral ignores layer_types, Llama knows no window, and a window without a size means nothing.
  const bool any = std::find(windowed.begin(), windowed.end(), true) != windowed.end();
  const bool all = std::find(windowed.begin(), windowed.end(), false) == windowed.end();
  if ((any && window == 0) || (is_mistral && window > 0 && !all)) {
    keys.Fail("layer_types", "contradicts 'sliding_window'");
  }
  for (const bool has : windowed) config.layer_windows.push_back(has ? window : 0);
}

absl::Status ReadQuantization(Keys& keys, const std::string& file, ModelConfig& config) {
  const Json* quantization = keys.Find("quantization_config");
  if (quantization == nullptr) return keys.status();
  config.quantized = true;
  if (!quantization->is_object()) {
    return keys.Fail("quantization_config", "must be an object"), keys.status();
  }
  return CheckQuantizationConfig(*quantization, absl::StrCat(file, ": quantization_config"));
}

// Version 5 has all in rope_parameters; version 4 theta beside, and the rest in rope_scaling.
absl::Status ReadRope(Keys& keys, const std::string& file, ModelConfig& config) {
  const Json* rope = keys.Find("rope_parameters");
  const char* where = rope != nullptr ? "rope_parameters" : "rope_scaling";
  if (rope == nullptr) rope = keys.Find("rope_scaling");
  const Json* old = keys.Find("rope_scaling");
  if (old != nullptr && *old != *(rope != nullptr ? rope : old)) {
    keys.Fail("rope_parameters", "contradicts 'rope_scaling'");
  }
  RopeConfig& out = config.rope;
  out.theta = keys.Positive("rope_theta", 10000.0);
  if (rope == nullptr) return keys.status();
  if (!rope->is_object()) return keys.Fail(where, "must be an object"), keys.status();
  Keys inner(*rope, absl::StrCat(file, ": ", where));
  out.theta = inner.Positive("rope_theta", out.theta);
  const std::string type = inner.Text("rope_type", inner.Text("type", "default"));
  if (type == "linear") {
    out.type = RopeType::kLinear;
    out.factor = inner.Positive("factor");
  } else if (type == "llama3") {
    out.type = RopeType::kLlama3;
    out.factor = inner.Positive("factor");
    out.low_freq_factor = inner.Positive("low_freq_factor");
    out.high_freq_factor = inner.Positive("high_freq_factor");
    out.original_max_position_embeddings =
        inner.Int("original_max_position_embeddings", 1, config.max_position_embeddings);
    if (out.high_freq_factor <= out.low_freq_factor) {
      inner.Fail("high_freq_factor", "must exceed 'low_freq_factor'");
    }
  } else if (type != "default") {
    inner.Fail("rope_type", absl::StrCat("'", Printable(type),
                                         "' is not supported (default, linear, llama3 are)"));
  }
  if (inner.Find("partial_rotary_factor") && inner.Positive("partial_rotary_factor") != 1.0) {
    inner.Fail("partial_rotary_factor", "other than 1 is not supported");
  }
  return keys.status().ok() ? inner.status() : keys.status();
}

}  // namespace

std::string_view ModelFamilyName(ModelFamily family) {
  for (const FamilyRow& row : kFamilies) {
    if (row.family == family) return row.model_type;
  }
  CheckFailed(__FILE__, __LINE__, "known family", absl::StrCat(static_cast<int>(family)));
}

absl::StatusOr<ModelConfig> ParseModelConfig(std::string_view config_json,
                                             const std::string& file) {
  FT_ASSIGN_OR_RETURN(const Json json, ParseJsonObject(config_json, file));
  Keys keys(json, file);
  ModelConfig config;
  const FamilyRow* row = ReadFamily(keys);
  if (!keys.status().ok()) return keys.status();
  RefuseUnsupported(keys, row->family);
  ReadSizes(keys, *row, config);
  if (!keys.status().ok()) return keys.status();
  ReadVariants(keys, config);
  ReadWindows(keys, config);
  FT_RETURN_IF_ERROR(ReadRope(keys, file, config));
  FT_RETURN_IF_ERROR(ReadQuantization(keys, file, config));
  for (const int64_t id : config.eos_token_ids) {
    if (id >= config.vocab_size) {
      keys.Fail("eos_token_id", absl::StrCat("is ", id, ", vocab_size is ", config.vocab_size));
    }
  }
  if (!keys.status().ok()) return keys.status();
  return config;
}

absl::StatusOr<ModelConfig> LoadModelConfig(const std::string& folder) {
  const std::string path = absl::StrCat(folder, "/config.json");
  FT_ASSIGN_OR_RETURN(const std::string text, ReadFile(path, kMaxConfigBytes));
  return ParseModelConfig(text, path);
}

absl::StatusOr<std::vector<int64_t>> LoadStopTokenIds(const std::string& folder,
                                                      const ModelConfig& config) {
  const std::string path = absl::StrCat(folder, "/generation_config.json");
  const absl::StatusOr<std::string> text = ReadFile(path, kMaxConfigBytes);
  if (absl::IsNotFound(text.status())) return config.eos_token_ids;
  if (!text.ok()) return text.status();
  FT_ASSIGN_OR_RETURN(const Json json, ParseJsonObject(*text, path));
  Keys keys(json, path);
  std::vector<int64_t> ids = keys.Ids("eos_token_id");
  if (!keys.status().ok()) return keys.status();
  return ids.empty() ? config.eos_token_ids : ids;
}

std::vector<double> RopeInverseFrequencies(const ModelConfig& config) {
  constexpr double kPi = 3.14159265358979323846;
  const RopeConfig& rope = config.rope;
  std::vector<double> frequencies(config.head_dim / 2);
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double plain = std::pow(rope.theta, -2.0 * i / config.head_dim);
    frequencies[i] = plain;
    if (rope.type == RopeType::kLinear) frequencies[i] = plain / rope.factor;
    if (rope.type != RopeType::kLlama3) continue;
    // Full turns within the original context: few are slowed by `factor`, many kept, between
    // interpolated.
    const double turns = rope.original_max_position_embeddings * plain / (2 * kPi);
    const double keep = std::clamp(
        (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor), 0.0, 1.0);
    frequencies[i] = (1 - keep) * plain / rope.factor + keep * plain;
  }
  return frequencies;
}

}  // namespace fttrain
