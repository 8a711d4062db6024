// Schedules as data: pure functions that list what one stage does, in order.
#pragma once

#include <string>
#include <vector>

namespace fttrain {

// A chunk is a run of layers whose weights are made available once; microbatches are indices within
// the optimizer step of this dp rank.
struct PipelineStep {
  enum class Kind { kForward, kBackward };
  Kind kind;
  int chunk;
  std::vector<int> microbatches;
  bool operator==(const PipelineStep&) const = default;
};

// Gradient accumulation on one stage: forward and backward of each microbatch in turn, so that one
// microbatch's activations are alive at a time.
std::vector<PipelineStep> SingleStage(int num_microbatches);

std::string ToString(
    const std::vector<PipelineStep>& steps);  // "F0.0 B0.0 F0.1,2 ...": chunk.microbatches

}  // namespace fttrain
