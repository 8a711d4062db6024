// What Gemma 2 and 3 share. Include in .cc files only.
#pragma once

#include "model/config/families/llama_keys.h"

namespace fttrain {

// Sizes, the four norms of a layer, activation, scale of queries and of embeddings. Refuses
// attention to later tokens.
LlamaShape ReadGemmaShape(JsonKeys& keys);

}  // namespace fttrain
