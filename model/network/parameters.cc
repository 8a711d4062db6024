#include "model/network/parameters.h"

#include "model/blocks/parameters.h"
#include "model/ends/embedding_head.h"

namespace fttrain {

void DeclareRuns(const ModelSpec& model, const ModelOptions& options,
                 const std::vector<LayerRun>& runs, int stages, TensorRank tp, ParameterSet& set) {
  const bool has_head = runs.back().last;
  if (runs.front().first || (has_head && model.head.tied)) {
    set.BeginGroup(kEmbeddingGroup);
    Parameter* const table = DeclareEmbedding(model, options, tp, set);
    if (model.head.tied && stages > 1) table->placement.pp = AxisGradient::kPartial;
  }
  for (const LayerRun& run : runs) {
    for (int index = run.begin; index < run.end; ++index) {
      set.BeginGroup(index);
      DeclareLayer(model.layers.at(static_cast<size_t>(index)), options, tp, set);
    }
  }
  if (!has_head) return;
  set.BeginGroup(kHeadGroup);
  DeclareHead(model, options, tp, set);
}

ParameterSet DeclareWholeModel(const ModelSpec& model, const ModelOptions& options) {
  ParameterSet set;
  const LayerRun whole = {0, static_cast<int>(model.num_layers()), true, true};
  DeclareRuns(model, options, {whole}, /*stages=*/1, {}, set);
  return set;
}

}  // namespace fttrain
