// DeepSeek V3 (arXiv:2412.19437) and R1: latent attention; experts of few groups, by sigmoids that
// a correction without a gradient balances, beside an expert that every token takes. The layers
// behind the last one, which predict tokens further ahead, are no part of the model.
#include <algorithm>

#include "absl/strings/str_cat.h"
#include "model/config/families/deepseek_keys.h"
#include "model/config/families/families.h"
#include "model/config/families/llama_keys.h"

namespace fttrain {
namespace {

void LeaveLayersBehind(JsonKeys& keys, int64_t num_layers, ModelSpec& model) {
  const char* key = "num_nextn_predict_layers";
  // Files whose config does not say it may have one, as transformers assumes.
  const int64_t most = 64, behind = std::min(most, keys.Int(key, 0, 1));
  for (int64_t i = 0; i < behind; ++i) {
    model.unread_prefixes.push_back(absl::StrCat("model.layers.", num_layers + i, "."));
  }
  if (behind == 0 || !keys.Find(key)) return;
  model.notes.push_back(absl::StrCat(
      keys.where(), ": '", key, "' is ", behind, ": what predicts tokens further ahead (",
      model.unread_prefixes.front(), "*) is left in the files, not read, trained or written"));
}

}  // namespace

ModelSpec ReadDeepseekV3(JsonKeys& keys) {
  LlamaShape shape = ReadDeepseek(keys, {.experts = 256,
                                         .top_k = 8,
                                         .shared_experts = 1,
                                         .expert_size = 2048,
                                         .dense_layers = 3,
                                         .scale = 2.5});
  RefuseBias(keys, "mlp_bias", "deepseek_v3");
  shape.rope.interleaved = keys.Bool("rope_interleave", true);
  shape.moe.sigmoid = shape.moe.corrected = true;
  shape.moe.renormalize = keys.Bool("norm_topk_prob", true);
  ReadExpertGroups(keys, 8, 4, /*best=*/2, shape);
  NoteIfOther(keys, "scoring_func", "sigmoid", shape);
  NoteIfOther(keys, "topk_method", "noaux_tc", shape);
  ModelSpec model = LlamaLike(shape);
  LeaveLayersBehind(keys, shape.num_layers, model);
  model.eos_token_ids = EosTokenIds(keys, {1});
  return model;
}

}  // namespace fttrain
