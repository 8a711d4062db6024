#include "launch/run/memory_need.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "launch/run/numbers.h"
#include "launch/run/rehearsal.h"
#include "runtime/comm/communicator.h"
#include "runtime/memory/rehearsal.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

constexpr int64_t kMib = 1 << 20;
constexpr int64_t kGpuContextBytes = 512 * kMib;
constexpr int64_t kNcclBytes = 256 * kMib;
constexpr int64_t kExchangeChannelBytes = 12 * kMib;  // of NCCL to each peer of an all_to_all
// The caching allocator takes large blocks in steps of 2 MiB, or 20 from 1 to 10: of tensors as
// large as weights a hundredth.
constexpr int64_t kRoundedUpOneIn = 100;
// Of a CPU's libraries what steps come to and a plan does not, about (bench/resident.py).
constexpr int64_t kCodeOfStepsBytes = 64 * kMib;

int64_t ResidentBytes() {
  std::ifstream file("/proc/self/statm");
  int64_t pages = 0, resident = 0;
  file >> pages >> resident;
  return resident * sysconf(_SC_PAGESIZE);
}

// Of a GPU whose context is there.
int64_t UntrackedOfGpu(const RankMemory& memory, const MeshShape& mesh) {
  return (mesh.world_size() > 1 ? kNcclBytes : 0) +
         (mesh.ep - 1) * kExchangeChannels * kExchangeChannelBytes +
         memory.device.peak.total / kRoundedUpOneIn;
}

// One way to need less, in the order of what they cost. False where it changes nothing.
struct Lever {
  const char* key;
  const char* cost;
  bool (*pull)(Task& task, Layout& layout);
};

template <typename T>
bool Set(T& field, T value) {
  if (field == value) return false;
  field = value;
  return true;
}

bool TrainsAdapter(const Task& task) { return task.form.adapter.has_value(); }

constexpr Lever kLevers[] = {
    {"memory.embedding=host", "rows of a microbatch are copied",
     [](Task& task, Layout& layout) {
       return TrainsAdapter(task) && Set(layout.embedding, Place::kHost);
     }},
    {"memory.recompute=smart", "a third more arithmetic",
     [](Task&, Layout& layout) {
       return layout.recompute == Recompute::kNone && Set(layout.recompute, Recompute::kSmart);
     }},
    {"parallel.zero_stage=2", "other sums of gradients",
     [](Task&, Layout& layout) {
       return layout.mesh.dp > 1 && layout.zero_stage < 2 && Set(layout.zero_stage, 2);
     }},
    {"optimizer.state=int8", "moments are rounded",
     [](Task& task, Layout&) { return Set(task.moments, MomentStorage::kInt8); }},
    {"memory.recompute=full", "half more arithmetic",
     [](Task&, Layout& layout) { return Set(layout.recompute, Recompute::kFull); }},
    {"optimizer.device=host", "an update moves state over PCIe",
     [](Task&, Layout& layout) { return Set(layout.state, StatePlace::kHost); }},
    {"memory.activations=host", "what is kept moves over PCIe",
     [](Task&, Layout& layout) { return Set(layout.activations, Place::kHost); }},
    {"parallel.zero_stage=3", "weights are gathered for every microbatch",
     [](Task&, Layout& layout) { return layout.mesh.dp > 1 && Set(layout.zero_stage, 3); }},
    {"memory.base_weights=host", "weights move over PCIe for every microbatch",
     [](Task& task, Layout& layout) {
       return TrainsAdapter(task) && layout.frozen == FrozenPlace::kDevice &&
              Set(layout.frozen, FrozenPlace::kHost);
     }},
    {"memory.base_weights=disk", "weights are read for every microbatch",
     [](Task& task, Layout& layout) {
       return TrainsAdapter(task) && Set(layout.frozen, FrozenPlace::kDisk);
     }},
};

// On a CPU the host's memory is the device's.
bool IsForGpuAlone(const Lever& lever) { return absl::EndsWith(lever.key, "=host"); }

absl::string_view KeyOf(absl::string_view lever) { return lever.substr(0, lever.find('=')); }

// "HOST BYTES" of each rank, summed over this host's.
int64_t SumOverHost(int64_t bytes, const Process& process) {
  int64_t sum = 0;
  for (const std::string& told : process.GatherStrings(absl::StrCat(bytes, " ", process.host()))) {
    const std::pair<std::string, std::string> parts = absl::StrSplit(told, absl::MaxSplits(' ', 1));
    int64_t one = 0;
    FT_CHECK(absl::SimpleAtoi(parts.first, &one), "bytes '", told, "'");
    if (parts.second == process.host()) sum += one;
  }
  return sum;
}

}  // namespace

MemoryNeed NeedOf(const RankMemory& memory, c10::Device device, const MeshShape& mesh) {
  MemoryNeed need{.memory = memory, .untracked_bytes = 0};
  if (device.is_cuda()) {
    need.untracked_bytes = kGpuContextBytes + UntrackedOfGpu(memory, mesh);
    need.bytes = memory.device.peak.total + need.untracked_bytes;
  } else {
    ReleaseFreedMemory();
    need.untracked_bytes =
        kCodeOfStepsBytes + std::max<int64_t>(0, ResidentBytes() - TotalMemory().current_bytes);
    need.bytes = memory.device.peak.total + memory.host.peak.total + need.untracked_bytes;
  }
  return need;
}

std::string UntrackedText(c10::Device device) {
  if (device.is_cuda()) {
    return "assumed: 0.50 GiB for CUDA's context and libraries, 0.25 for NCCL where there are "
           "several ranks and 0.09 for each with which experts are divided, and a hundredth that "
           "the allocator rounds up";
  }
  return "what this process has in memory beside tensors, and 0.06 GiB of libraries' code that "
         "steps come to";
}

std::string LargestCategories(const CategoryBytes& peak) {
  std::vector<std::pair<int64_t, std::string>> parts;
  for (size_t i = 0; i < peak.of.size(); ++i) {
    const auto name = MemoryCategoryName(static_cast<MemoryCategory>(i));
    if (peak.of[i] * 100 > peak.total) {
      parts.emplace_back(-peak.of[i], absl::StrCat(std::string(name), " ", InWords(peak.of[i])));
    }
  }
  std::sort(parts.begin(), parts.end());
  return absl::StrJoin(
      parts, ", ", [](std::string* text, const auto& part) { absl::StrAppend(text, part.second); });
}

std::string Levers(const Task& task, const Layout& layout, c10::Device device, int64_t room,
                   int64_t without, const BytesNeeded& needed) {
  constexpr char kNone[] =
      "no key of memory helps: shorter rows (data.sequence_len), or more ranks for a copy of the "
      "model (parallel.tensor, parallel.pipeline)";
  Task pulled_task = task;
  Layout pulled = layout;
  int64_t least = without;
  std::vector<const Lever*> helpful;
  for (const Lever& lever : kLevers) {
    Task next_task = pulled_task;
    Layout next = pulled;
    if (device.is_cpu() && IsForGpuAlone(lever)) continue;
    if (!lever.pull(next_task, next) || !CheckLayout(next_task, next).ok()) continue;
    const absl::StatusOr<int64_t> bytes = needed(next_task, next);
    if (!bytes.ok() || *bytes >= least) continue;
    least = *bytes;
    pulled_task = std::move(next_task);
    pulled = std::move(next);
    std::erase_if(helpful, [&](const Lever* each) { return KeyOf(each->key) == KeyOf(lever.key); });
    helpful.push_back(&lever);
    if (least > room) continue;
    return absl::StrCat("this makes it fit: ",
                        absl::StrJoin(helpful, ", ",
                                      [](std::string* text, const Lever* each) {
                                        absl::StrAppend(text, each->key, " (", each->cost, ")");
                                      }),
                        ", with which it needs ", InWords(least));
  }
  return kNone;
}

absl::Status CheckFits(TrainPlan& plan, const Process& process) {
  const c10::Device device = plan.inputs.device;
  const int64_t limit = plan.output.memory_limit_bytes;
  // Before a rehearsal, whose rows take room for a moment.
  const int64_t host_room = FreeMemoryBytes(c10::Device(c10::kCPU));
  const int64_t free = device.is_cuda() ? FreeMemoryBytes(device) : host_room;
  const int64_t room = limit > 0 ? limit : free;  // who sets it knows the machine better
  const bool shared = SomeRanksShareAGpu(device, process);
  const absl::StatusOr<RankMemory> memory =
      RehearseOwnRows(plan.task, plan.layout, plan.inputs, process.rank());
  const absl::Status rehearsed = process.AgreeOnStatus(memory.status());
  if (!rehearsed.ok() || (shared && limit == 0)) {
    LogInfo(absl::StrCat("note       whether the run fits is not known: ",
                         shared ? "ranks share a GPU" : rehearsed.message()));
    return absl::OkStatus();
  }
  // The GPU's context is there.
  const auto of_device = [&](const RankMemory& of) {
    return of.device.peak.total + (device.is_cuda() ? UntrackedOfGpu(of, plan.layout.mesh) : 0);
  };
  const int64_t needed = of_device(*memory);
  // Ranks of a host share its memory.
  const int64_t on_host = SumOverHost(
      memory->host.peak.total + (device.is_cpu() ? memory->device.peak.total : 0), process);
  const char* const free_words =
      limit > 0 ? " are memory.limit" : " are free (memory.limit says otherwise where more are)";
  absl::Status fits = absl::OkStatus();
  if (needed > room) {
    const std::string help =
        Levers(plan.task, plan.layout, device, room, needed,
               [&](const Task& task, const Layout& layout) -> absl::StatusOr<int64_t> {
                 FT_ASSIGN_OR_RETURN(const RankMemory other,
                                     RehearseOwnRows(task, layout, plan.inputs, process.rank()));
                 return of_device(other);
               });
    fits = absl::InvalidArgumentError(
        absl::StrCat("the run does not fit: ", InWords(needed), " are needed (",
                     LargestCategories(memory->device.peak), "), ", InWords(room), free_words, ": ",
                     InWords(needed - room), " too much; ", help));
  } else if (limit == 0 && on_host > host_room) {
    fits = absl::InvalidArgumentError(
        absl::StrCat("the run does not fit: its ranks on this host need ", InWords(on_host),
                     " of the host's memory, ", InWords(host_room), free_words));
  }
  if (limit == 0) plan.inputs.peak_bytes = memory->device.peak.total;
  return process.AgreeOnStatus(fits);
}

absl::Status CheckStillFits(int64_t peak_bytes, c10::Device device, const Process& process,
                            const GpuRuntime& gpus) {
  absl::Status fits = absl::OkStatus();
  if (device.is_cuda() && peak_bytes > 0 && !IsRehearsal()) {
    const int64_t more = peak_bytes + peak_bytes / kRoundedUpOneIn - TotalMemory().current_bytes;
    const int64_t free = FreeMemoryBytes(device, gpus);
    if (more > free) {
      fits = absl::InvalidArgumentError(absl::StrCat(
          "the run does not fit: before weights are read ", InWords(more), " more are needed and ",
          InWords(free), " are free: ", InWords(more - free), " too much. ",
          process.world_size() > 1
              ? "NCCL's buffers may take more than was reckoned (NCCL_MAX_NCHANNELS=4 makes them "
                "smaller), or another program has come to the GPU; "
              : "Another program may have come to the GPU; ",
          "`fttrain plan` lists the keys that make a run need less"));
    }
  }
  return process.AgreeOnStatus(fits);
}

}  // namespace fttrain
