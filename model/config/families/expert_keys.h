// The keys of config.json that families with experts share. Include in .cc files only.
#pragma once

#include "model/config/families/llama_shape.h"
#include "runtime/files/json.h"

namespace fttrain {

// How many experts there are (num_local_experts, num_experts: two names of one number) and how many
// a token takes; whether transformers adds the routers' loss, and with which coefficient: of
// families whose class there has one.
// `intermediate_size` and the layers that have experts are the family's.
void ReadExperts(JsonKeys& keys, int64_t experts, int64_t top_k, LlamaShape& shape);

// How many of shape.moe.experts, which `key` said, a token takes; `absent` 0: it must be there.
void ReadChosenExperts(JsonKeys& keys, const char* key, int64_t absent, LlamaShape& shape);

}  // namespace fttrain
