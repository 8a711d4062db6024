// The model cut into runs of consecutive layers. With p pipeline stages, run r is chunk r / p of
// stage r % p. The first run has the embedding, the last the final norm, head and loss. Pure.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "model/config/spec.h"
#include "parallel/pipeline/visits.h"

namespace fttrain {

// Layers of each run so that the costliest run costs least, the head counted as the layers whose
// products it equals (looking up the embedding costs nothing). Of equal ones that with most layers
// in the later runs: early stages hold more microbatches. At least one layer a run: `runs` is at
// most the model's layers.
std::vector<int> BalancedRuns(const ModelSpec& model, int runs);

// OK if there are `runs` entries, each at least 1, that sum to the model's layers. InvalidArgument
// with the arithmetic otherwise.
absl::Status CheckRuns(const std::vector<int>& layers_per_run, const ModelSpec& model, int runs);

// A stage's chunks, in order.
std::vector<LayerRun> RunsOfStage(const std::vector<int>& layers_per_run, int num_stages,
                                  int stage);

// "embedding, layers 0-3, 8-11, head"
std::string ToString(const std::vector<LayerRun>& runs);

}  // namespace fttrain
