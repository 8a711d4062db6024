// DeepSeek V2 (arXiv:2405.04434), V2-Lite, DeepSeek-Coder-V2: latent attention; experts by their
// softmax, perhaps of few groups, beside experts that every token takes.
#include "model/config/families/deepseek_keys.h"
#include "model/config/families/families.h"
#include "model/config/families/llama_keys.h"

namespace fttrain {

ModelSpec ReadDeepseekV2(JsonKeys& keys) {
  LlamaShape shape =
      ReadDeepseek(keys, {.experts = 64, .shared_experts = 2, .expert_size = 1407, .scale = 1.0});
  if (shape.hidden_size % shape.num_heads != 0) {
    keys.Fail("hidden_size",
              absl::StrCat("is ", shape.hidden_size, ", must be a multiple of num_attention_heads ",
                           shape.num_heads));
  }
  shape.mlp_bias = keys.Bool("mlp_bias", false);
  std::string method = keys.Text("topk_method", "greedy");
  if (method == "gready") method = "greedy";  // as DeepSeek's own code spelt it
  if (method == "group_limited_greedy") {
    ReadExpertGroups(keys, {}, {}, /*best=*/1, shape);
  } else if (method != "greedy") {
    keys.Fail("topk_method",
              absl::StrCat("'", Printable(method),
                           "' is not supported (greedy and group_limited_greedy are)"));
  }
  NoteIfOther(keys, "norm_topk_prob", false, shape);
  NoteIfOther(keys, "scoring_func", "softmax", shape);
  ModelSpec model = LlamaLike(shape);
  model.eos_token_ids = EosTokenIds(keys, {2});
  return model;
}

}  // namespace fttrain
