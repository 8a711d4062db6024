// What a rank's device must have for a run, and whether it has: what the ledger will count and what
// it does not see.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "launch/run/rank_memory.h"
#include "launch/run/train_plan.h"
#include "parallel/layout/mesh.h"
#include "runtime/process/device.h"
#include "runtime/process/process.h"

namespace fttrain {

struct MemoryNeed {
  RankMemory memory;
  int64_t untracked_bytes = 0;
  int64_t bytes = 0;  // in all, of the rank's device; on a CPU of the host's memory
};

// Of a rank of a mesh on a machine that is not this one. What is untracked of a GPU is assumed:
// the context with the libraries' code and workspaces, NCCL's buffers, and what the caching
// allocator rounds up. On a CPU it is what this process has resident beside tensors, and the
// code that it has not come to.
MemoryNeed NeedOf(const RankMemory& memory, c10::Device device, const MeshShape& mesh);
// What that is, in words.
std::string UntrackedText(c10::Device device);

// "weights 14.96 GiB, saved 5.79 GiB, ...": the categories' own peaks, the largest first.
std::string LargestCategories(const CategoryBytes& peak);

// Keys of the config that make a rank fit, each with its cost: "memory.recompute=smart (a third
// more arithmetic), ..., with which it needs 20.54 GiB"; the cheapest first, without those that
// free nothing; or that none do. `needed`: of a task in a layout, by rehearsal, and `without` them.
using BytesNeeded = std::function<absl::StatusOr<int64_t>(const Task&, const Layout&)>;
std::string Levers(const Task& task, const Layout& layout, c10::Device device, int64_t room,
                   int64_t without, const BytesNeeded& needed);

// InvalidArgument, naming the rank, what it needs, how much is missing and what would help, where
// the first steps of the run do not fit what is free of a rank's device, or memory.limit, which
// goes before. What cannot be judged is said, and goes on: ranks that share a GPU, what cannot be
// rehearsed. Before any weight is read. Collective over the world.
// Sets the plan's inputs.peak_bytes where what is free was judged.
absl::Status CheckFits(TrainPlan& plan, const Process& process);

// The same of a GPU once its ranks are connected, with what stays allocated and before weights are
// read: what NCCL takes depends on the links between cards, and CheckFits has assumed it. Of the
// first job of a process, whose kernels are not loaded yet. Agrees on
// errors. Collective over the world.
absl::Status CheckStillFits(int64_t peak_bytes, c10::Device device, const Process& process,
                            const GpuRuntime& gpus = Gpus());

}  // namespace fttrain
