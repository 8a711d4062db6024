// The families of models we train. A family is one file beside this one and one row of Families().
#pragma once

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
};

ModelSpec ReadLlama(JsonKeys& keys);
ModelSpec ReadMistral(JsonKeys& keys);
ModelSpec ReadQwen2(JsonKeys& keys);
ModelSpec ReadQwen3(JsonKeys& keys);

inline const std::vector<Family>& Families() {
  static const std::vector<Family> families = {
      {"llama", "LlamaForCausalLM", ReadLlama},
      {"mistral", "MistralForCausalLM", ReadMistral},
      {"qwen2", "Qwen2ForCausalLM", ReadQwen2},
      {"qwen3", "Qwen3ForCausalLM", ReadQwen3},
  };
  return families;
}

}  // namespace fttrain
