// A pipeline's run in time, from its schedules alone: proves that they fit each other, and shows
// how long stages wait.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "parallel/pipeline/schedule.h"

namespace fttrain {

struct SimulationOptions {
  double forward_seconds = 1.0, backward_seconds = 1.0;  // of one chunk for one microbatch
  double head_seconds = 1.0;      // of a stage's part of a split head for one microbatch
  double transfer_seconds = 0.0;  // of a message, while stages compute; a link carries one
  // Where runs differ: of one microbatch of each run, in place of the above; empty: all the same.
  std::vector<double> forward_of_run = {}, backward_of_run = {};
  // Of what a split head sends each stage and gets back; below 0: as transfer_seconds.
  double head_rows_seconds = -1.0, head_part_seconds = -1.0;
  // Messages of one direction between two stages that may wait to be taken; a stage whose message
  // finds no place waits. At least 1.
  int buffers = 1;
};

struct Simulation {
  double seconds = 0;                // until the last stage has ended
  std::vector<double> busy_seconds;  // of each stage
};

// stages[s]: the steps of stage s, whose chunk c is the run c * stages + s of the model.
// With a split head every stage's head takes what the last run's forward sends, and the last one's
// also what the others' send back. InvalidArgument names the first step that a stage cannot do: a
// message that is taken in another order than it was sent, or a wait that never ends (deadlock);
// also a run whose forward or backward is missing.
absl::StatusOr<Simulation> Simulate(const std::vector<std::vector<PipelineStep>>& stages,
                                    const SimulationOptions& options);

}  // namespace fttrain
