// Schedules as data: pure functions that list what one stage does, in order.
#pragma once

#include <string>
#include <vector>

namespace fttrain {

// A chunk is a run of consecutive layers; microbatches are indices within the optimizer step of
// this dp rank.
struct PipelineStep {
  enum class Kind { kForward, kBackward };
  Kind kind;
  int chunk;
  std::vector<int> microbatches;
  // Of a forward: whether a backward follows. Without, as in evaluation and for a reference model,
  // nothing is kept for one, and the microbatch's forwards are the same in all chunks.
  bool kept = true;
  bool operator==(const PipelineStep&) const = default;
};

// Layer-major: all microbatches forward through chunk 0, then through chunk 1, ..., then backward
// from the last chunk to the first. With a chunk of one layer each layer's weights are wanted twice
// in an optimizer step, the last one's once, however many microbatches there are; in return what
// all microbatches save is alive at the turn.
std::vector<PipelineStep> LayerMajor(int num_chunks, int num_microbatches);

// Forwards alone, through all chunks of one of num_stages stages, by groups of num_stages
// microbatches so that chunks do not wait for each other.
std::vector<PipelineStep> ForwardsOnly(int num_stages, int num_chunks, int num_microbatches);

// "F0.0 B0.0 F0.1,2 ...": chunk.microbatches; "f0.0" for a forward without a backward.
std::string ToString(const std::vector<PipelineStep>& steps);

}  // namespace fttrain
