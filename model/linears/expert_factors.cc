#include "model/linears/expert_factors.h"

#include <c10/util/Exception.h>

#include <optional>

#include "model/linears/parameters.h"
#include "model/matmul/tensor_rows.h"

namespace fttrain {
namespace {

// In the order in which transformers' modules of experts declare them.
constexpr const char* kDeclared[] = {"gate_up_proj", "down_proj"};

}  // namespace

FactorNames::FactorNames(const LinearSpec& linear, const AdapterForm& form) {
  if (linear.role != LinearRole::kExpert) {
    const LinearNames names(linear);
    a = names.a;
    b = names.b;
    return;
  }
  TORCH_CHECK(linear.stack.has_value(), linear.name, " is of no parameter");
  const LinearSpec::Stack& stack = *linear.stack;
  const std::optional<LowRank> adapter = form.OnParameter(stack.tensor);
  TORCH_CHECK(adapter.has_value(), stack.tensor, " has no adapter");
  const int64_t r = adapter->r, columns = r * stack.count;
  const auto part = [&](Factor factor, int64_t first, std::vector<int64_t> strides) {
    return NameOfPart({ParameterFactorName(stack.tensor, form, factor),
                       ParameterFactorShape(linear, r, factor), first, std::move(strides)});
  };
  a = part(Factor::kA, stack.index * r * linear.in, {linear.in, 1});
  b = part(Factor::kB, stack.first * columns + stack.index, {stack.step * columns, stack.count});
}

bool HasFactorA(const LinearSpec& linear) {
  return linear.role == LinearRole::kExpert && linear.stack ? linear.stack->first == 0
                                                            : linear.stands_for_module();
}

std::string ParameterFactorName(const std::string& parameter, const AdapterForm& form,
                                Factor factor) {
  const size_t dot = parameter.rfind('.');
  std::string module = parameter.substr(0, dot);
  bool declared = false;
  for (const char* leaf : kDeclared) {
    if (declared && form.OnParameter(parameter.substr(0, dot + 1) + leaf)) module += ".base_layer";
    declared = declared || parameter.substr(dot + 1) == leaf;
  }
  return PeftName(module, factor);
}

std::vector<LinearSpec> ExpertParameters(const LayerSpec& layer) {
  std::vector<LinearSpec> first;
  const auto add_first = [&](const LinearSpec& linear) {
    const bool stands = linear.role == LinearRole::kExpert && linear.stack &&
                        linear.stack->index == 0 && linear.stack->first == 0;
    if (stands) first.push_back(linear);
  };
  for (const BlockSpec& block : layer)
    ForEachPart(
        block, [](const NormSpec&) {}, add_first);
  return first;
}

std::vector<LinearSpec> ExpertParameters(const ModelSpec& model) {
  std::vector<LinearSpec> first;
  for (const LayerSpec& layer : model.layers) {
    for (const LinearSpec& linear : ExpertParameters(layer)) first.push_back(linear);
  }
  return first;
}

std::vector<int64_t> ParameterFactorShape(const LinearSpec& linear, int64_t r, Factor factor) {
  const LinearSpec::Stack& stack = linear.stack.value();
  if (factor == Factor::kA) return {stack.count * r, linear.in};
  return {stack.columns, r * stack.count};
}

}  // namespace fttrain
