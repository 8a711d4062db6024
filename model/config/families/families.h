// The families of models we train. A family is one file beside this one and one row of Families().
#pragma once

#include <string_view>
#include <vector>

#include "model/config/spec.h"

namespace fttrain {

class JsonKeys;

struct Family {
  const char* model_type;
  const char* architecture;
  // The model of a config's keys: reads the family's keys, and refuses (JsonKeys::Fail) what would
  // change the computation in ways we do not have. The result counts only without failures.
  ModelSpec (*read)(JsonKeys& keys);
  // Keys it reads of those that otherwise mean another family (model_config.cc).
  std::vector<std::string_view> own_keys = {};
};

ModelSpec ReadCohere2(JsonKeys& keys);
ModelSpec ReadDeepseekV2(JsonKeys& keys);
ModelSpec ReadDeepseekV3(JsonKeys& keys);
ModelSpec ReadGemma2(JsonKeys& keys);
ModelSpec ReadGemma3(JsonKeys& keys);
ModelSpec ReadGlm4(JsonKeys& keys);
ModelSpec ReadGptOss(JsonKeys& keys);
ModelSpec ReadGranite(JsonKeys& keys);
ModelSpec ReadLlama(JsonKeys& keys);
ModelSpec ReadMistral(JsonKeys& keys);
ModelSpec ReadMixtral(JsonKeys& keys);
ModelSpec ReadOlmo2(JsonKeys& keys);
ModelSpec ReadPhi3(JsonKeys& keys);
ModelSpec ReadQwen2(JsonKeys& keys);
ModelSpec ReadQwen3(JsonKeys& keys);
ModelSpec ReadQwen3Moe(JsonKeys& keys);
ModelSpec ReadSmolLm3(JsonKeys& keys);

inline const std::vector<Family>& Families() {
  static const std::vector<Family> families = {
      {"cohere2", "Cohere2ForCausalLM", ReadCohere2, {"logit_scale"}},
      {"deepseek_v2",
       "DeepseekV2ForCausalLM",
       ReadDeepseekV2,
       {"num_experts", "num_local_experts"}},
      {"deepseek_v3",
       "DeepseekV3ForCausalLM",
       ReadDeepseekV3,
       {"num_experts", "num_local_experts"}},
      {"gemma2",
       "Gemma2ForCausalLM",
       ReadGemma2,
       {"attn_logit_softcapping", "final_logit_softcapping", "query_pre_attn_scalar"}},
      {"gemma3_text",
       "Gemma3ForCausalLM",
       ReadGemma3,
       {"final_logit_softcapping", "query_pre_attn_scalar"}},
      {"glm4", "Glm4ForCausalLM", ReadGlm4},
      {"gpt_oss", "GptOssForCausalLM", ReadGptOss, {"num_local_experts", "num_experts"}},
      {"granite",
       "GraniteForCausalLM",
       ReadGranite,
       {"attention_multiplier", "embedding_multiplier", "residual_multiplier", "logits_scaling"}},
      {"llama", "LlamaForCausalLM", ReadLlama},
      {"mistral", "MistralForCausalLM", ReadMistral},
      {"mixtral", "MixtralForCausalLM", ReadMixtral, {"num_local_experts", "num_experts"}},
      {"olmo2", "Olmo2ForCausalLM", ReadOlmo2},
      {"phi3", "Phi3ForCausalLM", ReadPhi3},
      {"qwen2", "Qwen2ForCausalLM", ReadQwen2},
      {"qwen3", "Qwen3ForCausalLM", ReadQwen3},
      {"qwen3_moe", "Qwen3MoeForCausalLM", ReadQwen3Moe, {"num_local_experts", "num_experts"}},
      {"smollm3", "SmolLM3ForCausalLM", ReadSmolLm3, {"no_rope_layers"}},
  };
  return families;
}

}  // namespace fttrain
