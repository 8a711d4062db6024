#include "model/config/checks.h"

#include <algorithm>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace fttrain {
namespace {

// Why a block cannot be cut for tp ranks, each reason once.
void AddReasons(const BlockSpec& block, int64_t tp, std::vector<std::string>& reasons) {
  const auto add = [&](std::string reason) {
    if (!absl::c_linear_search(reasons, reason)) reasons.push_back(std::move(reason));
  };
  const auto leaves = [&](const char* what, int64_t count, const char* plural) {
    if (count % tp == 0) return;
    add(absl::StrCat(what, count, plural, " / ", tp, " leaves ", count % tp));
  };
  if (const auto* attention = std::get_if<AttentionSpec>(&block.body)) {
    leaves("", attention->heads, " attention heads");
    if (attention->kv_heads % tp != 0 && tp % attention->kv_heads != 0) {
      add(absl::StrCat("neither ", attention->kv_heads, " key-value heads / ", tp, " nor ", tp,
                       " / ", attention->kv_heads, " is whole"));
    }
  } else if (const auto* latent = std::get_if<LatentAttentionSpec>(&block.body)) {
    leaves("", latent->heads, " attention heads");
  } else if (const auto* moe = std::get_if<MoeSpec>(&block.body)) {
    leaves("experts' intermediate size ", moe->experts.front().gate.out, "");
  } else {
    leaves("intermediate size ", std::get<MlpSpec>(block.body).gate.out, "");
  }
}

std::vector<std::string> ReasonsAgainst(const ModelSpec& model, int64_t tp) {
  std::vector<std::string> reasons;
  for (const LayerSpec& layer : model.layers) {
    for (const BlockSpec& block : layer) AddReasons(block, tp, reasons);
  }
  return reasons;
}

int64_t MostHeads(const ModelSpec& model) {
  int64_t most = 1;
  for (const LayerSpec& layer : model.layers) {
    for (const BlockSpec& block : layer) {
      const auto* attention = std::get_if<AttentionSpec>(&block.body);
      if (attention != nullptr) most = std::max(most, attention->heads);
      const auto* latent = std::get_if<LatentAttentionSpec>(&block.body);
      if (latent != nullptr) most = std::max(most, latent->heads);
    }
  }
  return most;
}

}  // namespace

absl::Status CheckTensorParallel(const ModelSpec& model, int tp) {
  const std::vector<std::string> reasons =
      tp < 1 ? std::vector<std::string>{"it must be at least 1"} : ReasonsAgainst(model, tp);
  if (reasons.empty()) return absl::OkStatus();
  std::vector<int64_t> sizes;
  for (int64_t size = 1; size <= MostHeads(model); ++size) {
    if (ReasonsAgainst(model, size).empty()) sizes.push_back(size);
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "parallel.tensor ", tp, " does not fit this model: ", absl::StrJoin(reasons, ", "),
      ". Sizes that fit: ", absl::StrJoin(sizes, ", ")));
}

absl::Status CheckExpertParallel(const ModelSpec& model, int ep) {
  if (ep == 1) return absl::OkStatus();
  if (!HasExperts(model)) {
    return absl::InvalidArgumentError(absl::StrCat("parallel.expert ", ep, ": this model (",
                                                   model.family, ") has no experts to divide"));
  }
  for (const LayerSpec& layer : model.layers) {
    for (const BlockSpec& block : layer) {
      const auto* moe = std::get_if<MoeSpec>(&block.body);
      if (moe == nullptr || moe->num_experts() % ep == 0) continue;
      std::vector<int64_t> sizes;
      for (int64_t size = 1; size <= moe->num_experts(); ++size) {
        if (moe->num_experts() % size == 0) sizes.push_back(size);
      }
      return absl::InvalidArgumentError(
          absl::StrCat("parallel.expert ", ep, " does not divide this model's ", moe->num_experts(),
                       " experts. Sizes that do: ", absl::StrJoin(sizes, ", ")));
    }
  }
  return absl::OkStatus();
}

}  // namespace fttrain
