// What a job's model says without learning from it, in the job's own layout.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <vector>

#include "launch/run/build.h"

namespace fttrain {

// The mean loss of the tokens to learn of the rows of step `step`, without dropout. Collective over
// the mesh, the same on all of it.
double LossOfStep(Job& job, int64_t step);

// Of one document, without dropout: float32 [tokens, V] in host memory on the ranks of the last
// stage, undefined on the others. Collective over the mesh.
at::Tensor LogitsOf(Job& job, const std::vector<int32_t>& ids);

}  // namespace fttrain
