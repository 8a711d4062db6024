#include "model/blocks/parameters.h"

namespace fttrain {

AxisGradient NormGradient(const ModelOptions& options, TensorRank tp) {
  if (tp.size == 1) return AxisGradient::kOwned;
  return options.sequence_parallel ? AxisGradient::kPartial : AxisGradient::kIdentical;
}

void DeclareLayer(const LayerSpec& layer, const ModelOptions& options, TensorRank tp,
                  ParameterSet& set) {
  const auto norm = [&](const NormSpec& spec) {
    // One weight for every head: each rank sees only its own heads.
    const AxisGradient of_heads = tp.size > 1 ? AxisGradient::kPartial : AxisGradient::kOwned;
    DeclareNorm(spec, spec.over == NormOver::kHead ? of_heads : NormGradient(options, tp), options,
                tp, set);
  };
  const auto linear = [&](const LinearSpec& spec) { DeclareLinear(spec, options, tp, set); };
  const auto sinks = [&](const AttentionSpec& spec) { DeclareSinks(spec, options, tp, set); };
  for (const BlockSpec& block : layer) ForEachPart(block, norm, linear, sinks);
}

}  // namespace fttrain
