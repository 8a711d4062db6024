#include "model/blocks/block.h"

#include <utility>

#include "model/blocks/attention.h"
#include "model/blocks/latent_attention.h"
#include "model/blocks/mlp.h"
#include "model/blocks/moe.h"

namespace fttrain {

Linears BlockSetup::Make(const std::vector<LinearSpec>& specs) const {
  // Which experts have tokens is not known before: nothing to guess.
  const bool guessable = specs.front().role != LinearRole::kExpert;
  return Linears(specs, options, RankIn(tp), set, guessable ? ahead : nullptr);
}

Parameter* BlockSetup::Norm(const NormSpec& spec) const { return set.Get(spec.name + ".weight"); }

at::Tensor Block::ForwardAndLeave(const Linears& linears, const at::Tensor& x,
                                  const BlockContext& context, MemoryCategory category) const {
  const MemoryScope scope(category);
  at::Tensor partial;
  {
    // With sequence parallelism only the reduced rows are kept.
    const MemoryScope inner(region_.sequence_parallel() ? MemoryCategory::kWorkspace : category);
    partial = linears.Forward(x, context.batch.dropout, context.batch.adapters).front();
  }
  return region_.Leave(std::move(partial));
}

at::Tensor Block::BackwardFirst(const Linears& linears, std::vector<at::Tensor> dy,
                                const BlockContext& context, const MakeInput& x,
                                bool need_dx) const {
  at::Tensor dx;
  {
    const DropoutContext& dropout = context.batch.dropout;
    const at::Tensor dlow =
        need_dx ? linears.BackwardInput(dy, dropout, dx) : linears.BackwardLow(dy);
    if (linears.HasTrainable()) linears.BackwardParams(dy, dlow, x(), dropout);
  }
  dy.clear();
  return need_dx ? region_.Leave(std::move(dx)) : at::Tensor();
}

std::unique_ptr<BlockSaved> NewSaved(const BlockSpec& spec, TensorRank tp, at::ScalarType compute) {
  if (const auto* attention = std::get_if<AttentionSpec>(&spec.body)) {
    return std::make_unique<AttentionSaved>(*attention, tp, compute);
  }
  if (const auto* latent = std::get_if<LatentAttentionSpec>(&spec.body)) {
    return std::make_unique<LatentAttentionSaved>(*latent, tp, compute);
  }
  if (const auto* moe = std::get_if<MoeSpec>(&spec.body)) {
    return std::make_unique<MoeSaved>(*moe, tp, compute);
  }
  return std::make_unique<MlpSaved>(std::get<MlpSpec>(spec.body), tp, compute);
}

std::unique_ptr<Block> MakeBlock(const BlockSpec& spec, const BlockSetup& setup) {
  if (const auto* attention = std::get_if<AttentionSpec>(&spec.body)) {
    return std::make_unique<AttentionBlock>(*attention, setup);
  }
  if (const auto* latent = std::get_if<LatentAttentionSpec>(&spec.body)) {
    return std::make_unique<LatentAttentionBlock>(*latent, setup);
  }
  if (const auto* moe = std::get_if<MoeSpec>(&spec.body)) {
    return std::make_unique<MoeBlock>(*moe, setup);
  }
  return std::make_unique<MlpBlock>(std::get<MlpSpec>(spec.body), setup);
}

}  // namespace fttrain
