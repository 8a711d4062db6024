#include "model/config/families/expert_keys.h"

#include "absl/strings/str_cat.h"

namespace fttrain {

void ReadExperts(JsonKeys& keys, int64_t experts, int64_t top_k, LlamaShape& shape) {
  const int64_t named = keys.Int("num_experts", 1, experts);
  shape.moe.experts = keys.Int("num_local_experts", 1, named);
  if (keys.Find("num_experts") && named != shape.moe.experts) {
    keys.Fail("num_experts", absl::StrCat("is ", named, ", num_local_experts ", shape.moe.experts));
  }
  ReadChosenExperts(keys, "num_experts", top_k, shape);
  if (keys.Bool("output_router_logits", false)) {
    keys.Fail("output_router_logits",
              "is true: the router's loss, which transformers then adds, is not computed here");
  }
}

void ReadChosenExperts(JsonKeys& keys, const char* key, int64_t absent, LlamaShape& shape) {
  constexpr int64_t kMostExperts = 4096;
  if (shape.moe.experts > kMostExperts) {
    keys.Fail(key, absl::StrCat("exceeds ", kMostExperts));
    shape.moe.experts = 1;  // nothing of that size is built
  }
  shape.moe.top_k =
      keys.Int("num_experts_per_tok", 1, absent > 0 ? std::optional(absent) : std::nullopt);
  if (shape.moe.top_k > shape.moe.experts) {
    keys.Fail("num_experts_per_tok",
              absl::StrCat("is ", shape.moe.top_k, " of ", shape.moe.experts, " experts"));
  }
}

}  // namespace fttrain
