// Schedules as data: what one of num_stages stages does in an optimizer step, in order. The model
// is cut into num_stages * chunks runs of layers; stage s holds runs s, s + num_stages, ... as its
// chunks 0, 1, ... Pure functions: every stage computes its own list, and the lists fit.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"

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

// All forwards, then all backwards (Huang et al., arXiv:1811.06965, sec. 2.3). One chunk; all
// microbatches are in flight.
std::vector<PipelineStep> GPipe(int num_microbatches);

// One forward, one backward (PipeDream-Flush: Narayanan et al., arXiv:2104.04473, sec. 2.2.1). One
// chunk; at most num_stages - stage microbatches are in flight.
std::vector<PipelineStep> OneForwardOneBackward(int stage, int num_stages, int num_microbatches);

// The same over several chunks a stage (sec. 2.2.2), by groups of num_stages microbatches: the idle
// share falls to 1 / chunks, at the price of more messages and more in flight. num_microbatches
// must be a multiple of num_stages; throws c10::Error (CheckInterleaved refuses earlier).
std::vector<PipelineStep> Interleaved(int stage, int num_stages, int chunks, int num_microbatches);
absl::Status CheckInterleaved(int num_stages, int chunks, int num_microbatches);

// Layer-major: all microbatches forward through chunk 0, then through chunk 1, ..., then backward
// from the last chunk to the first. With a chunk of one layer each layer's weights are wanted twice
// in an optimizer step, the last one's once, however many microbatches there are; in return what
// all microbatches save is alive at the turn.
std::vector<PipelineStep> LayerMajor(int num_chunks, int num_microbatches);

// Forwards alone, through all chunks of one of num_stages stages, by groups of num_stages
// microbatches so that chunks do not wait for each other.
std::vector<PipelineStep> ForwardsOnly(int num_stages, int num_chunks, int num_microbatches);

enum class PipelineKind { kGPipe, kOneForwardOneBackward, kInterleaved, kLayerMajor };
// What stage `stage` of `num_stages` does; `chunks` above 1 only with kInterleaved and kLayerMajor.
// kLayerMajor has one stage.
std::vector<PipelineStep> MakePipelineSchedule(PipelineKind kind, int stage, int num_stages,
                                               int chunks, int num_microbatches);

// The lists of all stages, by stage.
using PipelineSchedule = std::vector<std::vector<PipelineStep>>;
PipelineSchedule MakeAllStages(PipelineKind kind, int num_stages, int chunks, int num_microbatches);

// The most (chunk, microbatch) pairs whose forward has run and whose backward has not.
int MostInFlight(const std::vector<PipelineStep>& steps);

// "F0.0 B0.0 F0.1,2 ...": chunk.microbatches; "f0.0" for a forward without a backward.
std::string ToString(const std::vector<PipelineStep>& steps);

}  // namespace fttrain
