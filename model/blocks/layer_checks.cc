// What users ask for, checked before anything is built: tensor-parallel sizes and adapter targets.
#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "absl/strings/str_join.h"
#include "model/blocks/decoder_layer.h"

namespace fttrain {
namespace {

constexpr std::array<const char*, 7> kLinears = {"q_proj",    "k_proj",  "v_proj",   "o_proj",
                                                 "gate_proj", "up_proj", "down_proj"};

bool Fits(const ModelConfig& config, int64_t tp) {
  const bool kv = config.num_kv_heads % tp == 0 || tp % config.num_kv_heads == 0;
  return config.num_heads % tp == 0 && config.intermediate_size % tp == 0 && kv;
}

}  // namespace

absl::Status CheckTensorParallel(const ModelConfig& config, int tp) {
  if (tp >= 1 && Fits(config, tp)) return absl::OkStatus();
  std::vector<std::string> reasons;
  if (tp < 1) {
    reasons.push_back("it must be at least 1");
  } else {
    if (config.num_heads % tp != 0) {
      reasons.push_back(absl::StrCat(config.num_heads, " attention heads / ", tp, " leaves ",
                                     config.num_heads % tp));
    }
    if (config.num_kv_heads % tp != 0 && tp % config.num_kv_heads != 0) {
      reasons.push_back(absl::StrCat("neither ", config.num_kv_heads, " key-value heads / ", tp,
                                     " nor ", tp, " / ", config.num_kv_heads, " is whole"));
    }
    if (config.intermediate_size % tp != 0) {
      reasons.push_back(absl::StrCat("intermediate size ", config.intermediate_size, " / ", tp,
                                     " leaves ", config.intermediate_size % tp));
    }
  }
  std::vector<int64_t> sizes;
  for (int64_t size = 1; size <= config.num_heads; ++size) {
    if (Fits(config, size)) sizes.push_back(size);
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "parallel.tensor ", tp, " does not fit this model: ", absl::StrJoin(reasons, ", "),
      ". Sizes that fit: ", absl::StrJoin(sizes, ", ")));
}

absl::StatusOr<std::vector<std::string>> ResolveTargetModules(
    const ModelConfig& /*config*/, const std::vector<std::string>& targets) {
  std::vector<std::string> wanted;
  for (const std::string& target : targets) {
    if (target == "all-linear") {
      wanted.insert(wanted.end(), kLinears.begin(), kLinears.end());
      continue;
    }
    if (std::find(kLinears.begin(), kLinears.end(), target) == kLinears.end()) {
      const bool known = target == "lm_head" || target == "embed_tokens";
      return absl::InvalidArgumentError(
          absl::StrCat("adapter.target_modules: ", target,
                       known ? " cannot be adapted here" : " is no linear module of this model",
                       "; choose from ", absl::StrJoin(kLinears, ", "), ", or all-linear"));
    }
    wanted.push_back(target);
  }
  // In the order of the layer, each once.
  std::vector<std::string> resolved;
  for (const char* linear : kLinears) {
    if (std::find(wanted.begin(), wanted.end(), linear) != wanted.end())
      resolved.emplace_back(linear);
  }
  if (resolved.empty()) {
    return absl::InvalidArgumentError(
        "adapter.target_modules is empty: name modules, or all-linear");
  }
  return resolved;
}

}  // namespace fttrain
