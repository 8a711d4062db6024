// Masters of trained weights.
#pragma once

#include "absl/status/status.h"
#include "launch/plan/task.h"
#include "parallel/optimizer/optimizer.h"

namespace fttrain {

// float32 masters of trained weights that the model's files hold in more bits than the parameters
// have, from the files' own values; the others are as MastersFromParameters made them. Any rank;
// the status is this rank's: agree on it.
absl::Status LoadMasters(Optimizer& optimizer, const Task& task);

}  // namespace fttrain
