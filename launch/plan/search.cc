#include "launch/plan/search.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

// Rehearsals of one mesh before it is given up.
constexpr int kMostTries = 6;
// What the estimate, once it was corrected by a rehearsal of the same mesh, may be wrong by.
constexpr double kSlack = 1.01;

Task WithMoments(const Task& task, MomentStorage moments) {
  Task with = task;
  with.moments = moments;
  return with;
}

double Share(int64_t bytes, int64_t room) {
  return static_cast<double>(bytes) / static_cast<double>(room);
}

std::vector<size_t> FullestFirst(const Candidate& candidate, const std::vector<int64_t>& room) {
  std::vector<size_t> stages(room.size());
  std::iota(stages.begin(), stages.end(), size_t{0});
  const auto fullness = [&](size_t stage) {
    return Share(candidate.estimate[stage].device, room[stage]);
  };
  std::stable_sort(stages.begin(), stages.end(),
                   [&](size_t a, size_t b) { return fullness(a) > fullness(b); });
  return stages;
}

// Rehearsals in the rooms of a rig.
class Trial {
 public:
  Trial(const SearchSpace& space, const BytesOfRank& bytes_of)
      : space_(space), bytes_of_(bytes_of) {}

  // The stage that is fullest by the estimate comes first; one that is too full ends it.
  absl::StatusOr<FoundLayout> Try(const Candidate& candidate, int64_t sequence_len) const {
    const Layout& layout = candidate.layout;
    Task task = WithMoments(space_.task, candidate.moments);
    task.rows.sequence_len = sequence_len;
    const std::vector<int64_t> room = RoomByStage(space_.room, layout.mesh);
    FoundLayout found{candidate, std::vector<RankBytes>(room.size()), /*fits=*/true};
    for (const size_t stage : FullestFirst(candidate, room)) {
      RankBytes& most = found.needed[stage];
      for (const int rank : FullestRanks(layout, candidate.moments, static_cast<int>(stage))) {
        FT_ASSIGN_OR_RETURN(const RankBytes bytes, bytes_of_(task, layout, rank));
        most = {std::max(most.device, bytes.device), std::max(most.host, bytes.host)};
      }
      found.fits = most.device <= room[stage];
      if (!found.fits) return found;
    }
    found.host_is_full = HostBytes(layout.mesh, found.needed, space_.rig) >
                         static_cast<double>(HostRoomOf(space_.rig));
    found.fits = !found.host_is_full;
    return found;
  }

 private:
  const SearchSpace& space_;
  const BytesOfRank& bytes_of_;
};

// What a search knows of a mesh.
struct OfMesh {
  bool fits = false;
  int tries = 0;
  double host_error = 1;               // what the host needed over its last estimate
  std::vector<int64_t> error;          // by stage, of the last estimate
  std::optional<FoundLayout> nearest;  // of those that were rehearsed and do not fit
};

double FullestOf(const FoundLayout& found, const std::vector<int64_t>& room) {
  double fullest = 0;
  for (size_t stage = 0; stage < room.size(); ++stage) {
    fullest = std::max(fullest, Share(found.needed[stage].device, room[stage]));
  }
  return fullest;
}

// Whether what is known of the mesh leaves it a chance.
bool MayFit(const Candidate& candidate, const OfMesh& mesh, const SearchSpace& space) {
  const std::vector<int64_t> room = RoomByStage(space.room, candidate.layout.mesh);
  for (size_t stage = 0; stage < mesh.error.size(); ++stage) {
    const int64_t corrected = candidate.estimate[stage].device + mesh.error[stage];
    if (Share(corrected, room[stage]) > kSlack) return false;
  }
  const double host = HostBytes(candidate.layout.mesh, candidate.estimate, space.rig);
  return host * mesh.host_error <= kSlack * static_cast<double>(HostRoomOf(space.rig));
}

void Learn(FoundLayout found, const SearchSpace& space, OfMesh& mesh) {
  const MeshShape& shape = found.candidate.layout.mesh;
  const std::vector<int64_t> room = RoomByStage(space.room, shape);
  mesh.fits |= found.fits;
  mesh.error.resize(room.size(), 0);
  for (size_t stage = 0; stage < room.size(); ++stage) {
    const int64_t needed = found.needed[stage].device;
    if (needed > 0) mesh.error[stage] = needed - found.candidate.estimate[stage].device;
  }
  // Of a layout whose stages were all rehearsed.
  const double estimate = HostBytes(shape, found.candidate.estimate, space.rig);
  if (estimate > 0 && (found.fits || found.host_is_full)) {
    mesh.host_error = HostBytes(shape, found.needed, space.rig) / estimate;
  }
  if (!mesh.nearest || FullestOf(found, room) < FullestOf(*mesh.nearest, room)) {
    mesh.nearest = std::move(found);
  }
}

std::string Percent(double share) { return absl::StrFormat("%.0f%%", 100 * share); }

// "communication 31%": what takes most of a step beside products.
std::string LargestLoss(const StepTime& time) {
  const std::pair<double, const char*> losses[] = {
      {time.bubble, "waiting for other stages"},
      {time.communication, "communication"},
      {time.dequantize, "dequantisation"},
      {time.recompute, "recomputation"},
      {time.host_copies, "copies from and to the host"},
      {time.optimizer, "the optimizer"}};
  const auto& most = *std::max_element(std::begin(losses), std::end(losses));
  return most.first < 0.01 ? "" : absl::StrCat(most.second, " ", Percent(most.first));
}

}  // namespace

std::vector<int> FullestRanks(const Layout& layout, MomentStorage moments, int stage) {
  const MeshShape& mesh = layout.mesh;
  const int first = stage * mesh.tp, last = first + (mesh.dp - 1) * mesh.pp * mesh.tp;
  // Small tensors keep their moments in 32 bits: a shard of them may be the larger.
  const bool uneven = moments == MomentStorage::kInt8 && layout.zero_stage > 0 && mesh.dp > 1;
  return uneven ? std::vector<int>{first, last} : std::vector<int>{first};
}

absl::StatusOr<Found> SearchLayouts(const SearchSpace& space, size_t layouts,
                                    const BytesOfRank& bytes_of) {
  const Candidates candidates = MakeCandidates(space);
  if (candidates.smallest.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("no layout of ", space.rig.name,
                     " is left with the keys that are kept: ", absl::StrJoin(space.kept, ", "),
                     space.Keeps("parallel.expert") && space.base.mesh.ep > 1
                         ? absl::StrCat("; parallel.expert ", space.base.mesh.ep,
                                        " must divide the replicas of a layout")
                         : ""));
  }
  const Trial trial(space, bytes_of);
  Found found;
  found.considered = static_cast<int64_t>(candidates.all.size());
  std::map<std::string, OfMesh> meshes;
  const auto try_it = [&](const Candidate& candidate) -> absl::Status {
    OfMesh& mesh = meshes[MeshName(candidate.layout.mesh)];
    ++mesh.tries;
    ++found.rehearsed;
    FT_ASSIGN_OR_RETURN(FoundLayout tried, trial.Try(candidate, space.task.rows.sequence_len));
    if (tried.fits) found.fits.push_back(tried);
    Learn(std::move(tried), space, mesh);
    return absl::OkStatus();
  };
  for (const Candidate& candidate : candidates.all) {
    if (found.fits.size() >= layouts) break;
    const OfMesh& mesh = meshes[MeshName(candidate.layout.mesh)];
    if (mesh.fits || mesh.tries >= kMostTries) continue;
    if (!MayFit(candidate, mesh, space)) continue;
    FT_RETURN_IF_ERROR(try_it(candidate));
  }
  // Of a mesh in which nothing fitted what needs least may, where the estimate was wrong.
  for (const Candidate& candidate : candidates.smallest) {
    const OfMesh& mesh = meshes[MeshName(candidate.layout.mesh)];
    if (mesh.fits || found.fits.size() >= layouts) continue;
    FT_RETURN_IF_ERROR(try_it(candidate));
    if (!mesh.fits) found.too_big.push_back(*mesh.nearest);
  }
  std::stable_sort(found.fits.begin(), found.fits.end(),
                   [](const FoundLayout& a, const FoundLayout& b) {
                     return a.candidate.cost < b.candidate.cost;
                   });
  for (FoundLayout& each : found.fits) {
    each.candidate.time =
        TimeOf(WithMoments(space.task, each.candidate.moments), each.candidate.layout, space.rig);
  }
  return found;
}

absl::StatusOr<LongestFit> LongestRows(const SearchSpace& space, const FoundLayout& layout,
                                       const BytesOfRank& bytes_of) {
  const Trial trial(space, bytes_of);
  const int64_t most = space.task.model.max_position_embeddings;
  int64_t fits = space.task.rows.sequence_len, too_long = 0;
  while (fits < most && (too_long == 0 || too_long - fits > std::max<int64_t>(64, fits / 16))) {
    const int64_t middle = (fits + too_long) / 2;
    const int64_t next = too_long == 0 ? std::min(2 * fits, most) : middle / 64 * 64;
    if (next <= fits) break;
    FT_ASSIGN_OR_RETURN(const FoundLayout tried, trial.Try(layout.candidate, next));
    (tried.fits ? fits : too_long) = next;
  }
  return LongestFit{fits, too_long};
}

std::string ReasonFor(const Found& found) {
  if (found.fits.empty()) return "nothing fits";
  const Candidate& best = found.fits.front().candidate;
  const std::string name = MeshName(best.layout.mesh);
  if (found.fits.size() == 1) {
    std::vector<std::string> others;
    for (const FoundLayout& each : found.too_big) {
      others.push_back(MeshName(each.candidate.layout.mesh));
    }
    return others.empty()
               ? absl::StrCat(name, " is the only way")
               : absl::StrCat(name, " is the only one that fits; ", absl::StrJoin(others, ", "),
                              others.size() == 1 ? " does not" : " do not");
  }
  const Candidate& next = found.fits[1].candidate;
  const double slower = next.time.seconds / best.time.seconds - 1;
  const std::string other = MeshName(next.layout.mesh), loss = LargestLoss(next.time);
  if (slower <= 0) {
    return absl::StrCat(name, " is as fast as ", other, " and pulls fewer levers");
  }
  return absl::StrCat(name, " is the fastest that fits: ", other, " takes ",
                      absl::StrFormat(slower < 0.1 ? "%.1f%%" : "%.0f%%", 100 * slower), " longer",
                      loss.empty() ? "" : absl::StrCat(" (", loss, " of its step)"));
}

}  // namespace fttrain
