// What `fttrain plan` tells: the bytes of every rank of a layout, the time of a step on a rig, and
// what a search for the best layouts has found; as a text, as a page and as JSON.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "launch/plan/search.h"
#include "launch/run/memory_need.h"

namespace fttrain {

struct PlanReport {
  std::string model;        // as it was called
  bool from_table = false;  // its shape: no folder was read
  Task task;
  Layout layout;
  c10::Device device = c10::Device(c10::kCPU);
  std::vector<MemoryNeed> ranks;
  std::vector<int64_t> room;       // of each rank's device; empty: not known
  std::string help;                // where a rank has too little
  std::vector<std::string> notes;  // of what is not counted, and PositionsNote

  // With a rig.
  std::optional<Rig> rig;
  int64_t desktop_bytes = 0;  // of each card, not in `room`
  std::optional<StepTime> time;

  // Of a search: `layout` is the first of what fits, or else the nearest.
  std::optional<Found> found;
  std::vector<std::string> kept;  // keys that were not searched
  std::string reason;             // for the first
  LongestFit longest;             // in it; 0 where nothing fits
};

enum class Bars { kNone, kLetters, kColors };

// Ends without a newline.
std::string PlanText(const PlanReport& report, Bars bars);
std::string PlanJson(const PlanReport& report);
// One self-contained page without scripts, light and dark.
std::string PlanPage(const PlanReport& report);

// For both: what a rank needs, in parts that sum up to it. Categories peak at different times; of
// what is not held all the time only what is there at the peak of the sum is counted, about.
struct MemoryPart {
  std::string name;
  int64_t bytes = 0;
};
std::vector<MemoryPart> PartsOf(const MemoryNeed& need);
// Ranks that need the same, in the order of the first: "ranks 0-3,6" of a group.
std::vector<std::vector<int>> AlikeRanks(const PlanReport& report);
std::string RankNames(const std::vector<int>& ranks);
// "tensor 2 x pipeline 2, interleaved 4".
std::string LayoutName(const Layout& layout);
// "26,624 tokens; 28,160 do not fit, what is between was not tried".
std::string LongestWords(const PlanReport& report);
// "qlora r 16", "all weights".
std::string MethodName(const Task& task);
// "embedding=host, recompute=smart"; "none".
std::string LeverWords(const Candidate& candidate);
// The fullest rank's bytes; what the rank with least has left, below 0 what it lacks; and what the
// ranks of a host need of its memory together.
struct Fit {
  int64_t needed = 0, left = 0, host = 0;
};
Fit FitOf(const FoundLayout& found, const PlanReport& report);
// Of a rig: what the ranks of each host need of its memory together, of which HostRoomOf is there.
std::vector<int64_t> NeedOfHosts(const PlanReport& report);
// "products", 0.61 and so on: what a step's time is spent on, the rest last; sums up to 1.
struct TimeShare {
  const char* name;  // a word for programs: "host_copies"
  const char* words;
  double share;
};
std::vector<TimeShare> SharesOf(const StepTime& time);

}  // namespace fttrain
