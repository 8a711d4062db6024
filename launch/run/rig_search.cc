#include "launch/run/rig_search.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "launch/run/memory_need.h"
#include "launch/run/numbers.h"
#include "launch/run/rehearsal.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

constexpr size_t kLayouts = 5;

const c10::Device kGpu(c10::kCUDA, 0);

BytesOfRank ExactBytes(const JobInputs& beside) {
  return [&beside](const Task& task, const Layout& layout, int rank) -> absl::StatusOr<RankBytes> {
    FT_ASSIGN_OR_RETURN(const RankMemory memory,
                        RehearseFullRows(task, layout, kGpu, rank, beside));
    return RankBytes{NeedOf(memory, kGpu, layout.mesh).bytes, memory.host.peak.total};
  };
}

// Of the fullest stage of a layout.
struct Lack {
  int stage = 0;
  int64_t bytes = 0, room = 0;
  int64_t missing() const { return bytes - room; }
};
Lack LackOf(const FoundLayout& found, const SearchSpace& space) {
  const std::vector<int64_t> room = RoomByStage(space.room, found.candidate.layout.mesh);
  Lack most{0, found.needed[0].device, room[0]};
  for (size_t stage = 1; stage < room.size(); ++stage) {
    const Lack lack{static_cast<int>(stage), found.needed[stage].device, room[stage]};
    if (lack.bytes > 0 && (most.bytes == 0 || lack.missing() > most.missing())) most = lack;
  }
  return most;
}

// Nothing fits: what is nearest, how much it lacks, and the levers in their order, disk included.
absl::Status SayWhatHelps(const SearchSpace& space, const BytesOfRank& bytes_of,
                          RigSearch& search) {
  const auto& too_big = search.found.too_big;
  search.chosen = *std::min_element(
      too_big.begin(), too_big.end(), [&](const FoundLayout& a, const FoundLayout& b) {
        return LackOf(a, space).missing() < LackOf(b, space).missing();
      });
  const Lack lack = LackOf(search.chosen, space);
  Layout plain = search.chosen.candidate.layout;
  search.reason = absl::StrCat(
      "nothing fits: nearest is ", MeshName(plain.mesh),
      search.chosen.host_is_full
          ? ", which the host has too little memory for"
          : absl::StrCat(", which needs ", InGib(lack.bytes), " of ", InGib(lack.room)));
  if (search.chosen.host_is_full) {
    search.help = "more memory of the host would help, or shorter rows (data.sequence_len)";
    return absl::OkStatus();
  }
  plain.recompute = Recompute::kNone;
  plain.activations = plain.embedding = Place::kDevice;
  plain.frozen = FrozenPlace::kDevice;
  plain.state = StatePlace::kDevice;
  plain.zero_stage = 1;
  const int rank = lack.stage * plain.mesh.tp;
  const auto needed = [&](const Task& task, const Layout& layout) -> absl::StatusOr<int64_t> {
    FT_ASSIGN_OR_RETURN(const RankBytes bytes, bytes_of(task, layout, rank));
    return bytes.device;
  };
  FT_ASSIGN_OR_RETURN(const int64_t without, needed(space.task, plain));
  search.help = absl::StrCat("rank ", rank, ": ",
                             Levers(space.task, plain, kGpu, lack.room, without, needed));
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<RigSearch> SearchRig(const SearchSpace& space, const JobInputs& beside) {
  const BytesOfRank bytes_of = ExactBytes(beside);
  RigSearch search;
  const absl::StatusOr<Found> all = SearchLayouts(space, kLayouts, bytes_of);
  // Where kept keys leave no layout of all cards, some of them may have one.
  if (!all.ok() && !absl::IsInvalidArgument(all.status())) return all.status();
  if (all.ok()) search.found = *all;
  FT_ASSIGN_OR_RETURN(search.fewer, SearchFewerCards(space, search.found, kLayouts, bytes_of));
  if (!search.fewer && !all.ok()) return all.status();
  if (search.fewer) search.found = search.fewer->found;
  if (search.found.fits.empty()) {
    FT_RETURN_IF_ERROR(SayWhatHelps(space, bytes_of, search));
    return search;
  }
  search.chosen = search.found.fits.front();
  search.reason = ReasonFor(search.found);
  if (search.fewer) absl::StrAppend(&search.reason, "; ", search.fewer->gain);
  if (!all.ok()) absl::StrAppend(&search.reason, "; ", std::string(all.status().message()));
  const SearchSpace part = search.fewer ? SearchSpace{space.task, space.base, search.fewer->rig,
                                                      space.kept, search.fewer->room}
                                        : space;
  FT_ASSIGN_OR_RETURN(search.longest, LongestRows(part, search.chosen, bytes_of));
  return search;
}

}  // namespace fttrain
