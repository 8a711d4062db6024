// Gemma 3, text alone: Gemma 2 without soft caps of scores, with norms of each head's q and k, and
// layers with a window that turn by another base.
#include "model/config/families/families.h"
#include "model/config/families/gemma_keys.h"
#include "model/config/families/rope_keys.h"

namespace fttrain {
namespace {

using Json = JsonKeys::Json;

constexpr const char* kFull = "full_attention";
constexpr const char* kSliding = "sliding_attention";

// transformers 5 has rope_parameters by type of layer; 4 has rope_theta and rope_scaling for layers
// without a window, rope_local_base_freq for those with one.
void ReadRopes(JsonKeys& keys, LlamaShape& shape) {
  if (keys.Find("partial_rotary_factor") && keys.Positive("partial_rotary_factor") != 1.0) {
    return keys.Fail("partial_rotary_factor", "other than 1 is not supported");
  }
  RopeSpec full, sliding;
  full.theta = keys.Positive("rope_theta", 1e6);
  sliding.theta = keys.Positive("rope_local_base_freq", 1e4);
  const Json* scaling = keys.Find("rope_scaling");
  const Json* parameters = keys.Find("rope_parameters");
  if (parameters != nullptr && scaling != nullptr) {
    return keys.Fail("rope_scaling", "beside 'rope_parameters' is not supported, remove one");
  }
  if (scaling != nullptr && !scaling->is_object()) {
    return keys.Fail("rope_scaling", "must be an object");
  }
  if (scaling != nullptr) full = ReadRopeSettings(keys, *scaling, "rope_scaling", full, shape);
  if (parameters != nullptr) {
    if (!parameters->is_object()) return keys.Fail("rope_parameters", "must be an object");
    for (const auto& [type, settings] : parameters->items()) {
      if ((type == kFull || type == kSliding) && (settings.is_object() || settings.is_null())) {
        continue;
      }
      return keys.Fail("rope_parameters",
                       absl::StrCat("has '", Printable(type), "', settings of ", kFull, " and ",
                                    kSliding, " layers are what it may have"));
    }
    for (const auto& [type, rope] : {std::pair(kFull, &full), {kSliding, &sliding}}) {
      const auto settings = parameters->find(type);
      if (settings == parameters->end() || settings->is_null()) continue;
      *rope =
          ReadRopeSettings(keys, *settings, absl::StrCat("rope_parameters.", type), *rope, shape);
    }
  }
  shape.rope = full;
  shape.window_rope = sliding;
}

}  // namespace

ModelSpec ReadGemma3(JsonKeys& keys) {
  LlamaShape shape = ReadGemmaShape(keys);
  shape.qk_norm = true;
  shape.logit_soft_cap = PositiveOrNone(keys, "final_logit_softcapping", 0.0);
  ReadWindowPattern(keys, SlidingWindow(keys), keys.Int("sliding_window_pattern", 1, 6), shape);
  ReadRopes(keys, shape);
  ModelSpec model = LlamaLike(shape);
  model.eos_token_ids = EosTokenIds(keys, {1});
  return model;
}

}  // namespace fttrain
