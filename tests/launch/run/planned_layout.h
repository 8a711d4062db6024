// A combination of the layout matrix through the program's own checks.
#pragma once

#include "absl/status/statusor.h"
#include "parallel/layout/mesh.h"
#include "tests/launch/run/layout_matrix.h"
#include "tests/launch/run/training_task.h"

namespace fttrain {

// What TrainingRig is made with.
struct PlannedLayout {
  MeshShape mesh;
  Layout layout;
  Task task;
};

// Reads, checks and interprets a config with the combination's values as `fttrain train` does, on
// that many ranks: the error is what a user sees. The model is deep enough that every stage has two
// runs of layers; with all weights trained its embeddings are tied.
absl::StatusOr<PlannedLayout> Plan(const Combination& combination);

}  // namespace fttrain
