// The parameters of a model, or of a pipeline stage's share of it, declared from its spec.
#pragma once

#include <vector>

#include "model/blocks/options.h"
#include "model/network/runs.h"

namespace fttrain {

// Parameter::group of the ends; layers have their index.
constexpr int kEmbeddingGroup = kEmbeddingPart;
constexpr int kHeadGroup = kHeadPart;

// Those of some runs of layers, and of the ends that belong to them: the embedding also with a tied
// head. `stages`: of the pipeline; a tied embedding is then held by the first and the last.
void DeclareRuns(const ModelSpec& model, const ModelOptions& options,
                 const std::vector<LayerRun>& runs, int stages, TensorRank tp, ParameterSet& set);

// Those of the whole model as one rank declares them: names, global shapes and dtypes, in the order
// of files. No storage.
ParameterSet DeclareWholeModel(const ModelSpec& model, const ModelOptions& options);

}  // namespace fttrain
