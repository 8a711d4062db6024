// What a run would hold, rank by rank, before anything of it is there: the job that Build makes,
// built and trained in rehearsal (runtime/memory/rehearsal.h).
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "launch/run/build.h"
#include "launch/run/rank_memory.h"

namespace fttrain {

// The memory of rank `rank` in two steps from `first_step` on, in the first of which memory is
// asked for that stays, in the fullest step of what is held out, in answers to samples and in the
// copies of a checkpoint. `inputs` as Build's, but for weights, which are not read, and the
// backend; ranks are as if on one host, this rank's threads as many as this process's. Needs no
// other rank; while it works the calling thread alone may use tensors. `largest_computed` as
// Rehearsal's. Errors as Build's and Trainer::Step's, and Internal where memory cannot even be
// imagined or an operation not be rehearsed.
absl::StatusOr<RankMemory> RehearseRank(const Task& task, const Layout& layout,
                                        const JobInputs& inputs, int rank, int64_t first_step = 0,
                                        int64_t largest_computed = 4096);

// For a plan: of rows of sequence_len tokens, each of one document, of which all are learnt.
// Microbatches beyond EnoughMicrobatches are not run; they have the memory of their token ids.
// `beside`: samples and saving of such a run.
absl::StatusOr<RankMemory> RehearseFullRows(const Task& task, const Layout& layout,
                                            c10::Device device, int rank,
                                            const JobInputs& beside = {});

// The same of every rank, by rank. Slices and shards are longest at the first ranks of an axis and
// shortest at its last: where these need the same, so do those between.
absl::StatusOr<std::vector<RankMemory>> RehearseAllRanks(const Task& task, const Layout& layout,
                                                         c10::Device device,
                                                         const JobInputs& beside = {});

// For a run: of its own rows, from the step with this rank's fullest microbatch among its first
// ones, without what is left out of a step: no more than the run asks for. Later rows may.
absl::StatusOr<RankMemory> RehearseOwnRows(const Task& task, const Layout& layout,
                                           const JobInputs& inputs, int rank);

}  // namespace fttrain
