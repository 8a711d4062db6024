#include "launch/plan/shapes.h"

#include <algorithm>
#include <cstdint>
#include <nlohmann/json.hpp>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "configs/nearest_word.h"
#include "model/config/model_config.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

struct Family {
  const char* model_type;
  const char* architecture;
  int64_t vocab_size;
  int64_t positions;
  const char* more = "{}";  // keys of its config; null takes one away
};
constexpr Family kLlama2 = {"llama", "LlamaForCausalLM", 32000, 4096};
constexpr Family kLlama3 = {"llama", "LlamaForCausalLM", 128256, 8192};
constexpr Family kLlama31 = {"llama", "LlamaForCausalLM", 128256, 131072};
constexpr Family kYi = {"llama", "LlamaForCausalLM", 64000, 4096};
constexpr Family kSmolLm2 = {"llama", "LlamaForCausalLM", 49152, 8192};
constexpr Family kMistral = {"mistral", "MistralForCausalLM", 32768, 32768};
constexpr Family kMistral128k = {"mistral", "MistralForCausalLM", 32768, 131072};
constexpr Family kTekken = {"mistral", "MistralForCausalLM", 131072, 131072};
constexpr Family kQwen2 = {"qwen2", "Qwen2ForCausalLM", 151936, 32768};
constexpr Family kQwen2Large = {"qwen2", "Qwen2ForCausalLM", 152064, 131072};
constexpr Family kQwen3 = {"qwen3", "Qwen3ForCausalLM", 151936, 40960};

constexpr Family kMixtral = {"mixtral", "MixtralForCausalLM", 32000, 32768};
constexpr Family kQwen3Moe = {"qwen3_moe", "Qwen3MoeForCausalLM", 151936, 40960,
                              R"({"num_experts": 128, "num_experts_per_tok": 8,
                                  "norm_topk_prob": true, "rms_norm_eps": 1e-6})"};
constexpr Family kDeepseekV2 = {"deepseek_v2", "DeepseekV2ForCausalLM", 102400, 163840,
                                R"({"rms_norm_eps": 1e-6, "first_k_dense_replace": 1,
                                    "n_shared_experts": 2, "num_experts_per_tok": 6,
                                    "rope_scaling": {"type": "yarn", "factor": 40,
                                        "mscale": 0.707, "mscale_all_dim": 0.707,
                                        "original_max_position_embeddings": 4096}})"};
constexpr Family kDeepseekV3 = {"deepseek_v3", "DeepseekV3ForCausalLM", 129280, 163840,
                                R"({"rms_norm_eps": 1e-6, "q_lora_rank": 1536,
                                    "rope_scaling": {"type": "yarn", "factor": 40,
                                        "mscale": 1.0, "mscale_all_dim": 1.0,
                                        "original_max_position_embeddings": 4096}})"};
constexpr Family kGptOss = {"gpt_oss", "GptOssForCausalLM", 201088, 131072,
                            R"({"num_experts_per_tok": 4, "sliding_window": 128})"};
constexpr Family kGemma2 = {"gemma2", "Gemma2ForCausalLM", 256000, 8192,
                            R"({"sliding_window": 4096, "rms_norm_eps": 1e-6})"};
constexpr const char* kGemma3More = R"({"sliding_window": 1024, "rms_norm_eps": 1e-6,
    "rope_scaling": {"rope_type": "linear", "factor": 8.0}})";
constexpr Family kGemma3 = {"gemma3_text", "Gemma3ForCausalLM", 262208, 131072, kGemma3More};
constexpr Family kGemma3Small = {"gemma3_text", "Gemma3ForCausalLM", 262144, 32768,
                                 R"({"sliding_window": 512, "rms_norm_eps": 1e-6})"};
constexpr Family kPhi3 = {"phi3", "Phi3ForCausalLM", 32064, 4096};
constexpr Family kPhi4 = {"phi3", "Phi3ForCausalLM", 100352, 16384, R"({"rope_theta": 250000})"};
constexpr Family kPhi4Mini = {"phi3", "Phi3ForCausalLM", 200064, 131072,
                              R"({"partial_rotary_factor": 0.75})"};
constexpr Family kOlmo2 = {"olmo2", "Olmo2ForCausalLM", 100352, 4096,
                           R"({"rope_theta": 500000, "rms_norm_eps": 1e-6,
                               "eos_token_id": 100257})"};
constexpr Family kGranite = {"granite", "GraniteForCausalLM", 49159, 131072,
                             R"({"embedding_multiplier": 12.0, "residual_multiplier": 0.22,
                                 "rope_theta": 10000000})"};
constexpr Family kSmolLm3 = {"smollm3", "SmolLM3ForCausalLM", 128256, 65536,
                             R"({"rope_theta": 5000000, "rms_norm_eps": 1e-6})"};
constexpr Family kGlm4 = {"glm4", "Glm4ForCausalLM", 151552, 32768};
constexpr Family kCohere2 = {"cohere2", "Cohere2ForCausalLM", 256000, 131072,
                             R"({"sliding_window": 4096, "rope_theta": 50000, "logit_scale": 0.25,
                                 "rms_norm_eps": null})"};

struct Row {
  const char* name;
  const Family& family;
  int64_t hidden, ffn, layers, heads, kv_heads, head_dim;
  bool tied = false;
  const char* more = "{}";  // as the family's
};

constexpr Row kRows[] = {
    {"llama-3.2-1b", kLlama31, 2048, 8192, 16, 32, 8, 64, true},
    {"llama-3.2-3b", kLlama31, 3072, 8192, 28, 24, 8, 128, true},
    {"llama-3-8b", kLlama3, 4096, 14336, 32, 32, 8, 128},
    {"llama-3.1-8b", kLlama31, 4096, 14336, 32, 32, 8, 128},
    {"llama-3-70b", kLlama3, 8192, 28672, 80, 64, 8, 128},
    {"llama-3.1-70b", kLlama31, 8192, 28672, 80, 64, 8, 128},
    {"llama-3.3-70b", kLlama31, 8192, 28672, 80, 64, 8, 128},
    {"llama-3.1-405b", kLlama31, 16384, 53248, 126, 128, 8, 128},
    {"llama-2-7b", kLlama2, 4096, 11008, 32, 32, 32, 128},
    {"llama-2-13b", kLlama2, 5120, 13824, 40, 40, 40, 128},
    {"llama-2-70b", kLlama2, 8192, 28672, 80, 64, 8, 128},
    {"qwen2.5-0.5b", kQwen2, 896, 4864, 24, 14, 2, 64, true},
    {"qwen2.5-1.5b", kQwen2, 1536, 8960, 28, 12, 2, 128, true},
    {"qwen2.5-3b", kQwen2, 2048, 11008, 36, 16, 2, 128, true},
    {"qwen2.5-7b", kQwen2Large, 3584, 18944, 28, 28, 4, 128},
    {"qwen2.5-14b", kQwen2Large, 5120, 13824, 48, 40, 8, 128},
    {"qwen2.5-32b", kQwen2Large, 5120, 27648, 64, 40, 8, 128},
    {"qwen2.5-72b", kQwen2Large, 8192, 29568, 80, 64, 8, 128},
    {"qwen3-0.6b", kQwen3, 1024, 3072, 28, 16, 8, 128, true},
    {"qwen3-1.7b", kQwen3, 2048, 6144, 28, 16, 8, 128, true},
    {"qwen3-4b", kQwen3, 2560, 9728, 36, 32, 8, 128, true},
    {"qwen3-8b", kQwen3, 4096, 12288, 36, 32, 8, 128},
    {"qwen3-14b", kQwen3, 5120, 17408, 40, 40, 8, 128},
    {"qwen3-32b", kQwen3, 5120, 25600, 64, 64, 8, 128},
    {"mistral-7b", kMistral, 4096, 14336, 32, 32, 8, 128},
    {"mistral-nemo-12b", kTekken, 5120, 14336, 40, 32, 8, 128},
    {"mistral-small-24b", kTekken, 5120, 32768, 40, 32, 8, 128},
    {"mistral-large-123b", kMistral128k, 12288, 28672, 88, 96, 8, 128},
    {"mixtral-8x7b", kMixtral, 4096, 14336, 32, 32, 8, 128},
    {"mixtral-8x22b", kMixtral, 6144, 16384, 56, 48, 8, 128, false,
     R"({"max_position_embeddings": 65536})"},
    {"qwen3-30b-a3b", kQwen3Moe, 2048, 6144, 48, 32, 4, 128, false,
     R"({"moe_intermediate_size": 768})"},
    {"qwen3-235b-a22b", kQwen3Moe, 4096, 12288, 94, 64, 4, 128, false,
     R"({"moe_intermediate_size": 1536})"},
    {"deepseek-v2-lite", kDeepseekV2, 2048, 10944, 27, 16, 16, 64, false,
     R"({"n_routed_experts": 64, "moe_intermediate_size": 1408})"},
    {"deepseek-v2", kDeepseekV2, 5120, 12288, 60, 128, 128, 64, false,
     R"({"q_lora_rank": 1536, "n_routed_experts": 160, "moe_intermediate_size": 1536, "routed_scaling_factor": 16.0,
         "topk_method": "group_limited_greedy", "n_group": 8, "topk_group": 3})"},
    {"deepseek-v3", kDeepseekV3, 7168, 18432, 61, 128, 128, 64},
    {"deepseek-r1", kDeepseekV3, 7168, 18432, 61, 128, 128, 64},
    {"gpt-oss-20b", kGptOss, 2880, 2880, 24, 64, 8, 64, false, R"({"num_local_experts": 32})"},
    {"gpt-oss-120b", kGptOss, 2880, 2880, 36, 64, 8, 64, false, R"({"num_local_experts": 128})"},
    {"yi-6b", kYi, 4096, 11008, 32, 32, 4, 128},
    {"yi-34b", kYi, 7168, 20480, 60, 56, 8, 128},
    {"smollm2-135m", kSmolLm2, 576, 1536, 30, 9, 3, 64, true},
    {"smollm2-360m", kSmolLm2, 960, 2560, 32, 15, 5, 64, true},
    {"smollm2-1.7b", kSmolLm2, 2048, 8192, 24, 32, 32, 64, true},
    {"smollm3-3b", kSmolLm3, 2048, 11008, 36, 16, 4, 128, true},
    {"gemma-2-2b", kGemma2, 2304, 9216, 26, 8, 4, 256, true},
    {"gemma-2-9b", kGemma2, 3584, 14336, 42, 16, 8, 256, true},
    {"gemma-2-27b", kGemma2, 4608, 36864, 46, 32, 16, 128, true,
     R"({"query_pre_attn_scalar": 144})"},
    {"gemma-3-1b", kGemma3Small, 1152, 6912, 26, 4, 1, 256, true},
    {"gemma-3-4b", kGemma3, 2560, 10240, 34, 8, 4, 256, true},
    {"gemma-3-12b", kGemma3, 3840, 15360, 48, 16, 8, 256, true},
    {"gemma-3-27b", kGemma3, 5376, 21504, 62, 32, 16, 128, true,
     R"({"query_pre_attn_scalar": 168})"},
    {"phi-3-mini-4k", kPhi3, 3072, 8192, 32, 32, 32, 96, false, R"({"sliding_window": 2047})"},
    {"phi-3-medium-4k", kPhi3, 5120, 17920, 40, 40, 10, 128, false, R"({"sliding_window": 2047})"},
    {"phi-4", kPhi4, 5120, 17920, 40, 40, 10, 128},
    {"phi-4-mini", kPhi4Mini, 3072, 8192, 32, 24, 8, 128, true},
    {"olmo-2-1b", kOlmo2, 2048, 8192, 16, 16, 16, 128},
    {"olmo-2-7b", kOlmo2, 4096, 11008, 32, 32, 32, 128},
    {"olmo-2-13b", kOlmo2, 5120, 13824, 40, 40, 40, 128},
    {"olmo-2-32b", kOlmo2, 5120, 27648, 64, 40, 8, 128},
    {"granite-3.3-2b", kGranite, 2048, 8192, 40, 32, 8, 64, true,
     R"({"attention_multiplier": 0.015625, "logits_scaling": 8.0})"},
    {"granite-3.3-8b", kGranite, 4096, 12800, 40, 32, 8, 128, true,
     R"({"attention_multiplier": 0.0078125, "logits_scaling": 16.0})"},
    {"glm-4-9b", kGlm4, 4096, 13696, 40, 32, 2, 128},
    {"command-r7b", kCohere2, 4096, 14336, 32, 32, 8, 128, true},
    {"command-a-111b", kCohere2, 12288, 36864, 64, 96, 8, 128, true},
};

// Words of a repository's name that say how a model was trained or stored, not what shape it has.
constexpr const char* kNoShape[] = {
    "meta", "instruct", "chat", "base", "hf",   "it",   "v0.1", "v0.2", "v0.3",    "bf16",
    "2407", "2411",     "2501", "nf4",  "bnb",  "4bit", "1.5",  "2507", "unsloth", "0414",
    "1124", "0325",     "0425", "text", "c4ai", "12",   "2024", "0324", "0528"};

// What of a name counts: its words without those, and of the sizes, where one is given beside a
// name that has but one, nothing is lost: "Mistral-Nemo-Instruct-2407" -> "mistralnemo".
std::string Essence(std::string_view name, bool is_table_name) {
  const size_t slash = name.rfind('/');
  std::string text =
      absl::AsciiStrToLower(absl::string_view(name.data(), name.size())
                                .substr(slash == std::string_view::npos ? 0 : slash + 1));
  std::string essence, word;
  const auto end_word = [&] {
    const bool dropped = !is_table_name && std::find(std::begin(kNoShape), std::end(kNoShape),
                                                     word) != std::end(kNoShape);
    for (const char c : word) {
      if (!dropped && c != '.') essence += c;
    }
    word.clear();
  };
  for (const char c : text) {
    if (c == '-' || c == '_' || c == ' ' || c == ':') {
      end_word();
    } else {
      word += c;
    }
  }
  end_word();
  return essence;
}

std::string ConfigOf(const Row& row) {
  nlohmann::json json = {{"model_type", row.family.model_type},
                         {"architectures", {row.family.architecture}},
                         {"hidden_size", row.hidden},
                         {"intermediate_size", row.ffn},
                         {"num_hidden_layers", row.layers},
                         {"num_attention_heads", row.heads},
                         {"num_key_value_heads", row.kv_heads},
                         {"head_dim", row.head_dim},
                         {"vocab_size", row.family.vocab_size},
                         {"max_position_embeddings", row.family.positions},
                         {"tie_word_embeddings", row.tied},
                         {"sliding_window", nullptr},
                         {"q_lora_rank", nullptr},
                         {"rms_norm_eps", 1e-5}};
  for (const char* more : {row.family.more, row.more}) {
    json.merge_patch(nlohmann::json::parse(more));
  }
  return json.dump();
}

}  // namespace

std::vector<std::string> ShapeNames() {
  std::vector<std::string> names;
  for (const Row& row : kRows) names.emplace_back(row.name);
  return names;
}

absl::StatusOr<ModelShape> FindShape(std::string_view name) {
  const std::string wanted = Essence(name, false);
  std::vector<const Row*> begun;  // "mistral-nemo" is the beginning of one name alone
  for (const Row& row : kRows) {
    const std::string known = Essence(row.name, true);
    if (known == wanted) return ModelShape{row.name, ConfigOf(row)};
    if (wanted.size() >= 9 && absl::StartsWith(known, wanted)) begun.push_back(&row);
  }
  if (begun.size() == 1) return ModelShape{begun[0]->name, ConfigOf(*begun[0])};
  const std::string lower = absl::AsciiStrToLower(absl::string_view(name.data(), name.size()));
  const std::string nearest = config::NearestWord(lower.substr(lower.rfind('/') + 1), ShapeNames());
  return absl::NotFoundError(
      absl::StrCat("no shape is called ", Printable(std::string(name)),
                   nearest.empty() ? "" : absl::StrCat(", did you mean ", nearest, "?"),
                   nearest.empty() ? ";" : "", " known are ", absl::StrJoin(ShapeNames(), ", ")));
}

absl::StatusOr<ModelSpec> ModelOfShape(const ModelShape& shape) {
  return ParseModelConfig(shape.config_json, absl::StrCat("the shape of ", shape.name));
}

}  // namespace fttrain
