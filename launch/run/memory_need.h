// What a rank's device must have for a run, and whether it has: what the ledger will count and what
// it does not see.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "launch/run/rank_memory.h"
#include "launch/run/train_plan.h"
#include "runtime/process/process.h"

namespace fttrain {

struct MemoryNeed {
  RankMemory memory;
  int64_t untracked = 0;
  int64_t bytes() const { return memory.device.peak.total + untracked; }
};

// Of one of `ranks` ranks on a machine that is not this one. What is untracked of a GPU is assumed:
// the context with the libraries' code and workspaces, NCCL's buffers, and what the caching
// allocator rounds up. On a CPU it is what this process has resident beside tensors.
MemoryNeed NeedOf(const RankMemory& memory, c10::Device device, int ranks);
// What that is, in words.
std::string UntrackedText(c10::Device device);

// "17.70 GiB", "3.25 MiB", "905,696 bytes": for people.
std::string InWords(int64_t bytes);
// "weights 14.96, saved 5.79, ...": the categories' own peaks, the largest first.
std::string LargestCategories(const CategoryBytes& peak);

// What makes a rank's need fit `room` bytes of its device: keys of the config, the cheapest first,
// each with its cost. `needed` of what a rank's ledger will count; the rest as RehearseFullRows.
struct Levers {
  std::string keys;   // "memory.recompute=smart (a third more arithmetic), ..."
  int64_t bytes = 0;  // that are needed with them
};
using BytesNeeded = std::function<int64_t(const RankMemory&)>;
absl::StatusOr<std::optional<Levers>> FindLevers(const Task& task, const Layout& layout,
                                                 c10::Device device, int rank, int64_t longest,
                                                 int64_t room, const BytesNeeded& needed);
// What to say where there are none.
inline constexpr char kNoLever[] =
    "no key of memory helps: shorter rows (data.sequence_len), or more ranks for a copy of the "
    "model (parallel.tensor, parallel.pipeline)";

// InvalidArgument, naming the rank, what it needs, how much is missing and what would help, unless
// the run's steps fit what is free of every rank's device, and memory.limit. Before any weight is
// read; every row is taken to be as full as one can be. Collective over the world.
absl::Status CheckFits(const TrainPlan& plan, const Process& process);

}  // namespace fttrain
