// A combination of the layout matrix through the program's own checks.
#pragma once

#include "absl/status/statusor.h"
#include "launch/run/train_plan.h"
#include "tests/launch/run/layout_matrix.h"

namespace fttrain {

// Reads, checks and interprets a config with the combination's values as `fttrain train` does, on
// that many ranks: the error is what a user sees. The model is deep enough that every stage has two
// runs of layers. The task computes in float64, or, with moments in 8 bits, which are for float32,
// in that, with trainable tensors that are large enough for them.
absl::StatusOr<CheckedRun> Plan(const Combination& combination);

}  // namespace fttrain
