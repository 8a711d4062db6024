// What a run leaves in its output folder: the adapter or the model, and the room for all.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "launch/run/output_folder.h"
#include "launch/run/train_plan.h"

namespace fttrain {

// OUT/adapter, or OUT/model where all weights are trained.
std::string ResultFolder(const TrainPlan& plan);

// ResourceExhausted where the result and the checkpoints that will be there at once do not fit.
absl::Status CheckRoom(const TrainPlan& plan, const OutputFolder& output);

// Writes the result of the job, from rank 0. Collective over the mesh; the status is this rank's:
// agree on it.
absl::Status WriteResult(const TrainPlan& plan, const Job& job);

}  // namespace fttrain
