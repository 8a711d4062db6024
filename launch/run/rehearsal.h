// What a run would hold, rank by rank, before anything of it is there: the job that Build makes,
// built and trained in rehearsal (runtime/memory/rehearsal.h).
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "launch/run/build.h"
#include "launch/run/rank_memory.h"

namespace fttrain {

// The memory of rank `rank` in the steps that decide it, two. `inputs` as Build's, but for weights,
// which are not read, and the backend; ranks are as if on one host, this rank's threads as many as
// this process's. Needs no other rank; while it works the calling thread alone may use tensors.
// `largest_computed` as Rehearsal's. Errors as Build's and Trainer::Step's.
absl::StatusOr<RankMemory> RehearseRank(const Task& task, const Layout& layout,
                                        const JobInputs& inputs, int rank,
                                        int64_t largest_computed = 4096);

// Of a run whose rows ask for the most: each has as many tokens as one can have where no document
// has more than `longest`, and all are learnt.
absl::StatusOr<RankMemory> RehearseFullRows(const Task& task, const Layout& layout,
                                            c10::Device device, int rank, int64_t longest);

}  // namespace fttrain
