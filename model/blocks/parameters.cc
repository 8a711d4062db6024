#include "model/blocks/parameters.h"

namespace fttrain {

AxisGradient NormGradient(const ModelOptions& options, TensorRank tp) {
  if (tp.size == 1) return AxisGradient::kOwned;
  return options.sequence_parallel ? AxisGradient::kPartial : AxisGradient::kIdentical;
}

void DeclareLayer(const LayerSpec& layer, const ModelOptions& options, TensorRank tp,
                  ParameterSet& set) {
  const auto norm = [&](const NormSpec& spec) {
    // One weight for every head, or what all heads are made from: each rank sees only its own.
    const AxisGradient of_heads = tp.size > 1 ? AxisGradient::kPartial : AxisGradient::kOwned;
    const bool partial = spec.over == NormOver::kHead || spec.over == NormOver::kLatent;
    DeclareNorm(spec, partial ? of_heads : NormGradient(options, tp), options, tp, set);
  };
  const auto linear = [&](const LinearSpec& spec) { DeclareLinear(spec, options, tp, set); };
  const auto constant = [&](const ConstantSpec& spec) { DeclareConstant(spec, options, set); };
  const auto sinks = [&](const AttentionSpec& spec) { DeclareSinks(spec, options, tp, set); };
  for (const BlockSpec& block : layer) ForEachPart(block, norm, linear, constant, sinks);
}

}  // namespace fttrain
