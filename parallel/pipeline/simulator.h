// A pipeline's run in time, from its schedules alone: proves that they fit each other, and shows
// how long stages wait.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "parallel/pipeline/schedule.h"

namespace fttrain {

struct SimulationOptions {
  double forward_seconds = 1.0, backward_seconds = 1.0;  // of one chunk for one microbatch
  // The same of each run of the model, by its number, where they are not all alike.
  std::vector<double> forward_of_run = {}, backward_of_run = {};
  double transfer_seconds = 0.0;  // of a message, while stages compute; a link carries one
  // Messages of one direction between two stages that may wait to be taken; a stage whose message
  // finds no place waits. At least 1.
  int buffers = 1;
  // Receives of each direction that are posted before their turn where a receive occupies its stage
  // until the message comes (Channel::PostsAhead is false): the stage computes nothing meanwhile.
  int posted_ahead = 0;
};

struct Simulation {
  double seconds = 0;                // until the last stage has ended
  std::vector<double> busy_seconds;  // of each stage
  // When each stage begins its chunks' microbatches, in the order of its list.
  std::vector<std::vector<double>> begins;
};

// stages[s]: the steps of stage s, whose chunk c is the run c * stages + s of the model.
// InvalidArgument names the first step that a stage cannot do: a message that is taken in another
// order than it was sent, or a wait that never ends (deadlock), as for a message that depends on
// what its receiver sends later; also a run whose forward or backward is missing.
absl::StatusOr<Simulation> Simulate(const std::vector<std::vector<PipelineStep>>& stages,
                                    const SimulationOptions& options);

}  // namespace fttrain
