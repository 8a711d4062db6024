// The keys of config.json that DeepSeek's families share. Include in .cc files only.
#pragma once

#include <optional>

#include "model/config/families/llama_shape.h"
#include "runtime/files/json.h"

namespace fttrain {

// transformers' defaults for keys that a file does not have, where the families differ.
struct DeepseekDefaults {
  int64_t experts = 0, top_k = 0;  // top_k 0: it must be there
  int64_t shared_experts = 0, expert_size = 0, dense_layers = 0;
  double scale = 1;
};
// Everything but how experts are chosen: Llama's sizes, latent attention with its rotary embedding
// and both its factors, dense layers first, experts and those that are shared. The keys that
// transformers does not read become notes where they say something else than is computed.
LlamaShape ReadDeepseek(JsonKeys& keys, const DeepseekDefaults& defaults);

// n_group and topk_group, of which a group's score is the sum of its `best` best.
void ReadExpertGroups(JsonKeys& keys, std::optional<int64_t> groups, std::optional<int64_t> top,
                      int64_t best, LlamaShape& shape);

// Notes a key whose value is another than the one that is computed.
void NoteIfOther(JsonKeys& keys, const char* key, const nlohmann::json& computed,
                 LlamaShape& shape);

}  // namespace fttrain
