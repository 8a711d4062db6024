// config.json's keys of rotary position embeddings: rope_theta, rope_scaling, rope_parameters,
// original_max_position_embeddings, partial_rotary_factor. Include in .cc files only.
#pragma once

#include <optional>
#include <string>

#include "model/config/families/llama_shape.h"
#include "runtime/files/json.h"

namespace fttrain {

// What families differ in.
struct RopeRules {
  double theta = 10000.0;  // where no key says it
  // Whether partial_rotary_factor is read, and what it is where it is absent; else it must be 1.
  bool partial = false;
  double partial_absent = 1.0;
  // Phi-3's types: default and longrope, which are all it has; su and yarn are old names of that.
  bool longrope = false;
  // Above 0: original_max_position_embeddings where the config's own keys do not say it, whatever
  // the rotary object does.
  int64_t original_context = 0;
  // DeepSeek: mscale_all_dim makes RopeSpec::score_factor, whatever scaling there is.
  bool scales_scores = false;
  // What counts where neither rope_parameters nor rope_scaling is there; its theta is not read.
  std::optional<RopeSpec> absent = {};
};

// shape.rope and shape.rotary_dim, as transformers reads them from either spelling; sizes and
// layer_windows are set. A key that the type of embedding does not read becomes a note. Settings by
// type of layer ({"full_attention": {...}, ...}) must be equal for all types that the model has.
// Refuses types that are not computed here, and two spellings that disagree.
void ReadRope(JsonKeys& keys, LlamaShape& shape, const RopeRules& rules = {});

// The settings in one object, "WHERE"; `absent` is what counts where it does not say.
RopeSpec ReadRopeSettings(JsonKeys& keys, const nlohmann::json& object, const std::string& where,
                          const RopeSpec& absent, LlamaShape& shape, const RopeRules& rules = {});

}  // namespace fttrain
