// Where in a step numbers first are not finite, for whoever has to find the row or the weight.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "launch/run/build.h"
#include "parallel/pipeline/schedule.h"

namespace fttrain {

// In words: the first microbatch and part of the model whose output is not finite, with the rank
// and the rows; else the first parameter of a backward whose gradient is not. `batches` are this
// rank's of the step, whose gradients are final (Optimizer::SyncGradients); they are evaluated once
// more. Collective over the mesh.
std::string FindNotFinite(Job& job, int64_t step, std::vector<ModelBatch> batches);

}  // namespace fttrain
