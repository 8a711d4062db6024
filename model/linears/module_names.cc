#include "model/linears/module_names.h"

#include "absl/algorithm/container.h"

namespace fttrain {
namespace {

// visit(name, role) for the model's linears as files know them, in their order.
template <typename Visit>
void ForEachModule(const ModelSpec& model, const Visit& visit) {
  const auto linear = [&](const LinearSpec& part) {
    if (part.stands_for_module()) visit(part.module(), part.role);
  };
  for (const LayerSpec& layer : model.layers) {
    for (const BlockSpec& block : layer)
      ForEachPart(
          block, [](const NormSpec&) {}, linear);
  }
}

// Last names of experts' linears and of routers.
std::set<std::string> ExpertLeaves(const ModelSpec& model) {
  std::set<std::string> leaves;
  ForEachModule(model, [&](const std::string& name, LinearRole role) {
    if (role != LinearRole::kPlain) leaves.insert(LeafName(name));
  });
  return leaves;
}

}  // namespace

std::vector<std::string> LinearModules(const ModelSpec& model) {
  const std::set<std::string> of_experts = ExpertLeaves(model);
  std::vector<std::string> names;
  ForEachModule(model, [&](const std::string& name, LinearRole) {
    if (of_experts.count(LeafName(name)) == 0) names.push_back(name);
  });
  return names;
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
  ForEachModule(model, [&](const std::string& name, LinearRole) {
    if (of_experts.count(LeafName(name)) > 0) others.insert(name);
    // What holds it, from the innermost to the first that is known, and so what holds that.
    std::string holder = name;
    for (size_t dot = holder.rfind('.'); dot != std::string::npos; dot = holder.rfind('.')) {
      holder.resize(dot);
      if (!others.insert(holder).second) break;
    }
  });
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
