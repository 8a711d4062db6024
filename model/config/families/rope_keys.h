// config.json's keys of rotary position embeddings: rope_theta, rope_scaling, rope_parameters,
// original_max_position_embeddings, partial_rotary_factor. Include in .cc files only.
#pragma once

#include "model/config/families/llama_shape.h"
#include "runtime/files/json.h"

namespace fttrain {

// shape.rope, as transformers reads it from either spelling; sizes and layer_windows are set. A key
// that the type of embedding does not read becomes a note. Settings by type of layer
// ({"full_attention": {...}, ...}) must be equal for all types that the model has. Refuses types
// that are not computed here, partial embeddings, and two spellings that disagree.
void ReadRope(JsonKeys& keys, LlamaShape& shape);

}  // namespace fttrain
