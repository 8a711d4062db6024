#include "model/linears/module_names.h"

#include "absl/algorithm/container.h"

namespace fttrain {
namespace {

// The model's linears, but only those of which `wanted` is true.
template <typename Wanted>
std::vector<std::string> ModulesIf(const ModelSpec& model, const Wanted& wanted) {
  std::vector<std::string> names;
  for (const LayerSpec& layer : model.layers) {
    for (const LinearSpec& linear : ModulesOf(layer)) {
      if (wanted(linear)) names.push_back(linear.name);
    }
  }
  return names;
}

// Last names of experts' linears and of routers.
std::set<std::string> ExpertLeaves(const ModelSpec& model) {
  std::set<std::string> leaves;
  for (const std::string& name : ModulesIf(
           model, [](const LinearSpec& linear) { return linear.role != LinearRole::kPlain; })) {
    leaves.insert(LeafName(name));
  }
  return leaves;
}

}  // namespace

std::vector<std::string> LinearModules(const ModelSpec& model) {
  const std::set<std::string> of_experts = ExpertLeaves(model);
  return ModulesIf(model, [&](const LinearSpec& linear) {
    return of_experts.empty() || of_experts.count(LeafName(linear.name)) == 0;
  });
}

std::set<std::string> OtherModules(const ModelSpec& model) {
  std::set<std::string> others = {"lm_head", model.embedding, model.head.norm.name};
  for (const LayerSpec& layer : model.layers) {
    for (const BlockSpec& block : layer) {
      ForEachPart(
          block, [&](const NormSpec& norm) { others.insert(norm.name); }, [](const LinearSpec&) {});
    }
  }
  const std::set<std::string> of_experts = ExpertLeaves(model);
  for (const std::string& linear : ModulesIf(model, [](const LinearSpec&) { return true; })) {
    if (of_experts.count(LeafName(linear)) > 0) others.insert(linear);
    for (size_t dot = linear.find('.'); dot != std::string::npos; dot = linear.find('.', dot + 1)) {
      others.insert(linear.substr(0, dot));
    }
  }
  return others;
}

std::string ReasonOfName(const ModelSpec& model, const std::string& module) {
  if (ExpertLeaves(model).count(LeafName(module)) == 0) return "";
  return " (PEFT takes this name for the parameters that a layer's experts or their router have "
         "together; those of experts are named by adapter.target_parameters)";
}

std::vector<std::string> LinearLeaves(const ModelSpec& model) {
  std::vector<std::string> leaves;
  for (const std::string& module : LinearModules(model)) {
    std::string leaf = LeafName(module);
    if (!absl::c_linear_search(leaves, leaf)) leaves.push_back(std::move(leaf));
  }
  return leaves;
}

}  // namespace fttrain
