// Schedules of a pipeline: what one of num_stages stages does in an optimizer step, in order. The
// model is cut into num_stages * chunks runs of layers; stage s holds runs s, s + num_stages, ...
// as its chunks 0, 1, ... Pure functions: every stage computes its own list, and the lists fit.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "parallel/pipeline/schedule.h"

namespace fttrain {

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

enum class PipelineKind { kGPipe, kOneForwardOneBackward, kInterleaved, kLayerMajor };
// What stage `stage` of `num_stages` does; `chunks` above 1 only with kInterleaved and kLayerMajor.
// kLayerMajor (schedule.h) has one stage.
std::vector<PipelineStep> MakePipelineSchedule(PipelineKind kind, int stage, int num_stages,
                                               int chunks, int num_microbatches);

// The most (chunk, microbatch) pairs whose forward has run and whose backward has not.
int MostInFlight(const std::vector<PipelineStep>& steps);

}  // namespace fttrain
