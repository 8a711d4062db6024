#include "model/config/families/expert_keys.h"

#include "absl/strings/str_cat.h"

namespace fttrain {
namespace {

// The coefficient of the routers' loss, which transformers adds with output_router_logits.
double RouterLoss(JsonKeys& keys) {
  if (!keys.Bool("output_router_logits", false)) return 0;
  const auto* coefficient = keys.Find("router_aux_loss_coef");
  if (coefficient != nullptr && *coefficient == 0) return 0;
  return keys.Positive("router_aux_loss_coef", 0.001);
}

}  // namespace

void ReadExperts(JsonKeys& keys, int64_t experts, int64_t top_k, LlamaShape& shape) {
  const int64_t named = keys.Int("num_experts", 1, experts);
  shape.moe.experts = keys.Int("num_local_experts", 1, named);
  if (keys.Find("num_experts") && named != shape.moe.experts) {
    keys.Fail("num_experts", absl::StrCat("is ", named, ", num_local_experts ", shape.moe.experts));
  }
  ReadChosenExperts(keys, "num_experts", top_k, shape);
  shape.moe.router_loss = RouterLoss(keys);
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
