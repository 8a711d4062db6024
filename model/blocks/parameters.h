// The parameters of decoder layers on one rank, declared from their specs.
#pragma once

#include "model/blocks/options.h"
#include "model/config/spec.h"

namespace fttrain {

// Norms outside blocks see each rank's own rows with sequence parallelism (kPartial), else equal
// ones.
AxisGradient NormGradient(const ModelOptions& options, TensorRank tp);

// Everything of a layer, in the order of files. Throws c10::Error where tp does not fit.
void DeclareLayer(const LayerSpec& layer, const ModelOptions& options, TensorRank tp,
                  ParameterSet& set);

}  // namespace fttrain
