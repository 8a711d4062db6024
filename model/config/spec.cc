#include "model/config/spec.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"

namespace fttrain {
namespace {

LinearSpec WholeModule(LinearSpec linear) {
  if (linear.stacked_in_files()) {
    linear.name = linear.stack->tensor;
    linear.out = linear.stack->columns;
    return linear;
  }
  if (!linear.part) return linear;
  linear.name = linear.part->module;
  linear.out = linear.part->rows;
  linear.part.reset();
  return linear;
}

// LinearsByInput, of the block's own: a model with experts has tens of thousands.
std::vector<std::vector<const LinearSpec*>> GroupsByInput(const BlockSpec& block) {
  if (const auto* attention = std::get_if<AttentionSpec>(&block.body)) {
    return {{&attention->q, &attention->k, &attention->v}, {&attention->o}};
  }
  if (const auto* latent = std::get_if<LatentAttentionSpec>(&block.body)) {
    if (!latent->q_a) return {{&latent->q, &latent->kv_a}, {&latent->kv_b}, {&latent->o}};
    return {{&*latent->q_a, &latent->kv_a}, {&latent->q}, {&latent->kv_b}, {&latent->o}};
  }
  if (const auto* moe = std::get_if<MoeSpec>(&block.body)) {
    std::vector<std::vector<const LinearSpec*>> linears = {{&moe->router}};
    for (const MlpSpec& expert : moe->experts) {
      linears.push_back({&expert.gate, &expert.up});
      linears.push_back({&expert.down});
    }
    return linears;
  }
  const auto& mlp = std::get<MlpSpec>(block.body);  // throws for a kind that is not listed here
  return {{&mlp.gate, &mlp.up}, {&mlp.down}};
}

}  // namespace

std::vector<std::vector<LinearSpec>> LinearsByInput(const BlockSpec& block) {
  std::vector<std::vector<LinearSpec>> linears;
  for (const std::vector<const LinearSpec*>& group : GroupsByInput(block)) {
    std::vector<LinearSpec>& copies = linears.emplace_back();
    for (const LinearSpec* linear : group) copies.push_back(*linear);
  }
  return linears;
}

void ForEachPart(const BlockSpec& block, const std::function<void(const NormSpec&)>& norm,
                 const std::function<void(const LinearSpec&)>& linear,
                 const std::function<void(const ConstantSpec&)>& constant,
                 const std::function<void(const AttentionSpec&)>& sinks) {
  if (block.before) norm(*block.before);
  if (linear) {
    for (const std::vector<const LinearSpec*>& group : GroupsByInput(block)) {
      for (const LinearSpec* each : group) linear(*each);
    }
  }
  if (const auto* attention = std::get_if<AttentionSpec>(&block.body)) {
    if (attention->q_norm) norm(*attention->q_norm);
    if (attention->k_norm) norm(*attention->k_norm);
    if (!attention->sinks.empty() && sinks) sinks(*attention);
  }
  if (const auto* latent = std::get_if<LatentAttentionSpec>(&block.body)) {
    if (latent->q_norm) norm(*latent->q_norm);
    norm(latent->kv_norm);
  }
  if (const auto* moe = std::get_if<MoeSpec>(&block.body)) {
    if (constant && moe->correction) constant(*moe->correction);
  }
  if (block.after) norm(*block.after);
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

std::vector<LinearSpec> ModulesOf(const LayerSpec& layer) {
  std::vector<LinearSpec> modules;
  for (const BlockSpec& block : layer) {
    ForEachPart(
        block, [](const NormSpec&) {},
        [&](const LinearSpec& linear) {
          if (linear.stands_for_module()) modules.push_back(WholeModule(linear));
        });
  }
  return modules;
}

int64_t StreamWidth(const BlockSpec& block) {
  if (const auto* moe = std::get_if<MoeSpec>(&block.body)) return moe->router.in;
  return GroupsByInput(block).front().front()->in;
}

std::string LeafName(const std::string& module) { return module.substr(module.rfind('.') + 1); }

std::vector<TensorSpec> ModelTensors(const ModelSpec& model) {
  const std::vector<int64_t> table = {model.vocab_size, model.hidden_size};
  std::vector<TensorSpec> tensors;
  const auto norm = [&](const NormSpec& spec) {
    tensors.push_back({spec.name + ".weight", {spec.size}});
  };
  const auto linear = [&](const LinearSpec& part) {
    if (!part.stands_for_module()) return;
    const LinearSpec spec = WholeModule(part);
    if (spec.stacked_in_files()) {
      const int64_t count = spec.stack->count;
      tensors.push_back({spec.name, {count, spec.in, spec.out}, "", spec.role});
      if (spec.bias) tensors.push_back({spec.name + "_bias", {count, spec.out}});
      return;
    }
    tensors.push_back({.name = spec.name + ".weight",
                       .shape = {spec.out, spec.in},
                       .module = spec.name,
                       .role = spec.role,
                       .float32 = spec.float32});
    if (spec.bias) tensors.push_back({spec.name + ".bias", {spec.out}});
  };
  const auto constant = [&](const ConstantSpec& spec) {
    tensors.push_back({.name = spec.name, .shape = {spec.size}, .constant = true});
  };
  const auto sinks = [&](const AttentionSpec& spec) {
    tensors.push_back({spec.sinks, {spec.heads}});
  };
  tensors.push_back({model.embedding + ".weight", table});
  for (const LayerSpec& layer : model.layers) {
    for (const BlockSpec& block : layer) ForEachPart(block, norm, linear, constant, sinks);
  }
  norm(model.head.norm);
  if (!model.head.tied) tensors.push_back({model.head.name + ".weight", table, model.head.name});
  return tensors;
}

std::vector<TensorSpec> LinearMatrices(const ModelSpec& model) {
  std::vector<TensorSpec> tensors = ModelTensors(model);
  std::erase_if(tensors, [](const TensorSpec& tensor) {
    return tensor.module.empty() || tensor.role == LinearRole::kRouter;
  });
  return tensors;
}

LayerSpec PartOfExperts(LayerSpec layer, int rank, int size) {
  if (size == 1) return layer;
  for (BlockSpec& block : layer) {
    auto* moe = std::get_if<MoeSpec>(&block.body);
    if (moe == nullptr) continue;
    const int64_t all = moe->num_experts(), own = all / size, first = rank * own;
    moe->experts.erase(moe->experts.begin() + first + own, moe->experts.end());
    moe->experts.erase(moe->experts.begin(), moe->experts.begin() + first);
    moe->before = first;
    moe->behind = all - first - own;
  }
  return layer;
}

ModelSpec PartOfExperts(ModelSpec model, int rank, int size) {
  if (size == 1) return model;
  for (LayerSpec& layer : model.layers.Change()) {
    layer = PartOfExperts(std::move(layer), rank, size);
  }
  return model;
}

namespace {

// Of the first layer that has experts; null without one.
const MoeSpec* ExpertsOf(const ModelSpec& model) {
  for (const LayerSpec& layer : model.layers) {
    for (const BlockSpec& block : layer) {
      if (const auto* moe = std::get_if<MoeSpec>(&block.body)) return moe;
    }
  }
  return nullptr;
}

}  // namespace

bool HasExperts(const ModelSpec& model) { return ExpertsOf(model) != nullptr; }

bool HasStackedExperts(const ModelSpec& model) {
  const MoeSpec* const moe = ExpertsOf(model);
  return moe != nullptr && moe->experts.front().down.stacked_in_files();
}

std::string ToString(const ModelSpec& model) {
  std::string heads;
  for (const BlockSpec& block : model.layers.empty() ? LayerSpec() : model.layers.front()) {
    if (const auto* attention = std::get_if<AttentionSpec>(&block.body)) {
      heads = absl::StrCat(", heads ", attention->heads, "/", attention->kv_heads);
    } else if (const auto* latent = std::get_if<LatentAttentionSpec>(&block.body)) {
      heads = absl::StrCat(", heads ", latent->heads, ", latent ", latent->kv_norm.size);
    }
  }
  std::string experts;
  if (const MoeSpec* moe = ExpertsOf(model)) {
    experts = absl::StrCat(", experts ", moe->top_k, "/", moe->num_experts());
  }
  return absl::StrCat(model.family, ", ", model.num_layers(), " layers, hidden ", model.hidden_size,
                      heads, experts, ", vocabulary ", model.vocab_size);
}

}  // namespace fttrain
