// What a model's config.json says, for the families we train: llama (2, 3.x), mistral, qwen2,
// qwen3. Both spellings of transformers 4 (rope_theta, rope_scaling) and 5 (rope_parameters) are
// read; a missing key has transformers' default for the family. What we cannot compute exactly is
// refused by file and key.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace fttrain {

enum class ModelFamily { kLlama, kMistral, kQwen2, kQwen3 };
std::string_view ModelFamilyName(ModelFamily family);  // as in "model_type"

enum class RopeType { kDefault, kLinear, kLlama3 };

struct RopeConfig {
  double theta = 10000.0;
  RopeType type = RopeType::kDefault;
  double factor = 1.0;                           // linear, llama3
  double low_freq_factor = 1.0;                  // llama3
  double high_freq_factor = 4.0;                 // llama3
  int64_t original_max_position_embeddings = 0;  // llama3
};

struct ModelConfig {
  ModelFamily family = ModelFamily::kLlama;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;  // divides num_heads
  int64_t head_dim = 0;      // even; num_heads * head_dim may differ from hidden_size
  int64_t vocab_size = 0;
  int64_t max_position_embeddings = 0;
  double rms_norm_eps = 1e-6;
  bool tie_word_embeddings = false;  // lm_head.weight is model.embed_tokens.weight
  bool qkv_bias = false;
  bool o_bias = false;
  bool mlp_bias = false;
  bool qk_norm = false;                // RMSNorm over head_dim of q and k, before rotary
  std::vector<int64_t> layer_windows;  // [num_layers] tokens seen, incl. the token itself; 0: all
  RopeConfig rope;
  std::string torch_dtype;  // of the saved weights, "" if not said: float32, bfloat16, float16
  bool quantized = false;   // quantization_config: matrices are stored as NF4 (nf4_folder.h)
  std::optional<int64_t> bos_token_id;
  std::vector<int64_t> eos_token_ids;  // may be empty
  std::optional<int64_t> pad_token_id;

  int64_t WindowOfLayer(int64_t layer) const { return layer_windows.at(layer); }
};

// InvalidArgument for text that is not a config of these families, naming `file` and the key.
absl::StatusOr<ModelConfig> ParseModelConfig(std::string_view config_json, const std::string& file);

// Reads FOLDER/config.json.
absl::StatusOr<ModelConfig> LoadModelConfig(const std::string& folder);

// Ids that end a generated answer: eos_token_id of FOLDER/generation_config.json if it is there and
// says so, else the config's.
absl::StatusOr<std::vector<int64_t>> LoadStopTokenIds(const std::string& folder,
                                                      const ModelConfig& config);

// Rotary inverse frequencies [head_dim / 2], with the linear or llama3 scaling applied
// (transformers' modeling_rope_utils).
std::vector<double> RopeInverseFrequencies(const ModelConfig& config);

// One tensor of the model, by its Hugging Face name and global shape.
struct TensorSpec {
  std::string name;
  std::vector<int64_t> shape;
};
// Every weight of the model, in file order: embedding, layers, final norm, head (absent when tied).
std::vector<TensorSpec> ModelTensors(const ModelConfig& config);

}  // namespace fttrain
