#include "model/config/spec.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"

namespace fttrain {

std::vector<std::vector<LinearSpec>> LinearsByInput(const BlockSpec& block) {
  if (const auto* attention = std::get_if<AttentionSpec>(&block.body)) {
    return {{attention->q, attention->k, attention->v}, {attention->o}};
  }
  const auto& mlp = std::get<MlpSpec>(block.body);  // throws for a kind that is not listed here
  return {{mlp.gate, mlp.up}, {mlp.down}};
}

void ForEachPart(const BlockSpec& block, const std::function<void(const NormSpec&)>& norm,
                 const std::function<void(const LinearSpec&)>& linear) {
  norm(block.before);
  for (const std::vector<LinearSpec>& linears : LinearsByInput(block)) {
    for (const LinearSpec& each : linears) linear(each);
  }
  if (const auto* attention = std::get_if<AttentionSpec>(&block.body)) {
    if (attention->q_norm) norm(*attention->q_norm);
    if (attention->k_norm) norm(*attention->k_norm);
  }
}

std::vector<LinearSpec> LinearsOf(const LayerSpec& layer) {
  std::vector<LinearSpec> linears;
  for (const BlockSpec& block : layer) {
    ForEachPart(
        block, [](const NormSpec&) {},
        [&](const LinearSpec& linear) { linears.push_back(linear); });
  }
  return linears;
}

std::string LeafName(const std::string& module) { return module.substr(module.rfind('.') + 1); }

std::vector<TensorSpec> ModelTensors(const ModelSpec& model) {
  const std::vector<int64_t> table = {model.vocab_size, model.hidden_size};
  std::vector<TensorSpec> tensors;
  const auto norm = [&](const NormSpec& spec) {
    tensors.push_back({spec.name + ".weight", {spec.size}});
  };
  const auto linear = [&](const LinearSpec& spec) {
    tensors.push_back({spec.name + ".weight", {spec.out, spec.in}, spec.name});
    if (spec.bias) tensors.push_back({spec.name + ".bias", {spec.out}});
  };
  tensors.push_back({model.embedding + ".weight", table});
  for (const LayerSpec& layer : model.layers) {
    for (const BlockSpec& block : layer) ForEachPart(block, norm, linear);
  }
  norm(model.head.norm);
  if (!model.head.tied) tensors.push_back({model.head.name + ".weight", table, model.head.name});
  return tensors;
}

std::vector<TensorSpec> LinearMatrices(const ModelSpec& model) {
  std::vector<TensorSpec> tensors = ModelTensors(model);
  std::erase_if(tensors, [](const TensorSpec& tensor) { return tensor.module.empty(); });
  return tensors;
}

std::vector<double> RopeInverseFrequencies(const RopeSpec& rope) {
  constexpr double kPi = 3.14159265358979323846;
  std::vector<double> frequencies(rope.dim / 2);
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double plain = std::pow(rope.theta, -2.0 * i / rope.dim);
    frequencies[i] = plain;
    if (rope.type == RopeType::kLinear) frequencies[i] = plain / rope.factor;
    if (rope.type != RopeType::kLlama3) continue;
    // Full turns within the original context: few are slowed by `factor`, many kept, between
    // interpolated.
    const double turns = rope.original_max_position_embeddings * plain / (2 * kPi);
    const double keep = std::clamp(
        (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor), 0.0, 1.0);
    frequencies[i] = (1 - keep) * plain / rope.factor + keep * plain;
  }
  return frequencies;
}

std::string ToString(const ModelSpec& model) {
  std::string heads;
  for (const BlockSpec& block : model.layers.empty() ? LayerSpec() : model.layers.front()) {
    const auto* attention = std::get_if<AttentionSpec>(&block.body);
    if (attention == nullptr) continue;
    heads = absl::StrCat(", heads ", attention->heads, "/", attention->kv_heads);
  }
  return absl::StrCat(model.family, ", ", model.num_layers(), " layers, hidden ", model.hidden_size,
                      heads, ", vocabulary ", model.vocab_size);
}

}  // namespace fttrain
