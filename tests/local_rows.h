// The rows of an activation that a tensor-parallel rank holds between blocks.
#pragma once

#include "parallel/layout/tensor_parallel.h"

namespace fttrain {

// [T, ...] -> this rank's rows (a view); the argument without sequence parallelism.
inline at::Tensor LocalRows(const SequenceRegion& region, const at::Tensor& full) {
  return region.sequence_parallel() ? full.chunk(region.tp().size(), 0)[region.tp().rank()] : full;
}

}  // namespace fttrain
