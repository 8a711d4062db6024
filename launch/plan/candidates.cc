#include "launch/plan/candidates.h"

#include <algorithm>
#include <optional>

namespace fttrain {
namespace {

// The estimate decides where a layout's fullest stage is below the first share of its room, and
// where it is above the second.
constexpr double kSurelyFits = 0.85, kSurelyNot = 1.12;
constexpr double kCostOfALever = 0.005;
// Of all that the ranks may take of a host's memory: what else would be in it, files above all.
constexpr double kCostOfTheHost = 0.02;
// 8-bit moments change what is computed: they are the last to be preferred.
constexpr int kWeights[kLevers] = {1, 1, 1, 1, 1, 4, 1};

double Fullness(const Candidate& candidate, const std::vector<int64_t>& room, const Rig& rig) {
  double fullest = 0;
  for (size_t stage = 0; stage < room.size(); ++stage) {
    const RankBytes& bytes = candidate.estimate[stage];
    fullest =
        std::max(fullest, static_cast<double>(bytes.device) / static_cast<double>(room[stage]));
  }
  const double host = HostBytes(candidate.layout.mesh, candidate.estimate, rig);
  return std::max(fullest, host / static_cast<double>(HostRoomOf(rig)));
}

class Maker {
 public:
  explicit Maker(const SearchSpace& space)
      : space_(space), with_int8_(space.task), footprint_(space.task) {
    with_int8_.moments = MomentStorage::kInt8;
  }

  void AddMesh(const MeshShape& mesh, Candidates& found) {
    const LeverChoices choices(space_, mesh);
    const std::vector<Pulled> subsets = choices.Subsets();
    const std::vector<int64_t> room = RoomByStage(space_.room, mesh);
    std::optional<Candidate> smallest;
    for (const Layout& cut : CutsOf(space_, mesh)) {
      std::vector<Pulled> enough;
      for (const Pulled& pulled : subsets) {
        const auto is_enough = [&](const Pulled& less) { return PullsNoMore(less, pulled); };
        if (std::any_of(enough.begin(), enough.end(), is_enough)) continue;
        Candidate candidate{.layout = cut};
        choices.Pull(pulled, candidate.layout, candidate.moments);
        candidate.estimate = footprint_.ByStage(candidate.layout, candidate.moments);
        candidate.fullness = Fullness(candidate, room, space_.rig);
        if (candidate.fullness < kSurelyFits) enough.push_back(pulled);
        if (!smallest || candidate.fullness < smallest->fullness) smallest = candidate;
        if (candidate.fullness > kSurelyNot) continue;
        SetTime(pulled, candidate);
        found.all.push_back(std::move(candidate));
      }
    }
    if (!smallest) return;
    SetTime({}, *smallest);
    found.smallest.push_back(*std::move(smallest));
  }

 private:
  void SetTime(const Pulled& pulled, Candidate& candidate) const {
    const bool int8 = candidate.moments == MomentStorage::kInt8;
    candidate.time = TimeOf(int8 ? with_int8_ : space_.task, candidate.layout, space_.rig);
    candidate.time.stages.clear();  // of thousands
    int weight = 0;
    for (size_t i = 0; i < kLevers; ++i) weight += pulled[i] * kWeights[i];
    const double host = HostBytes(candidate.layout.mesh, candidate.estimate, space_.rig) /
                        static_cast<double>(HostRoomOf(space_.rig));
    candidate.cost = candidate.time.seconds * (1 + kCostOfALever * weight + kCostOfTheHost * host);
  }

  const SearchSpace& space_;
  Task with_int8_;
  Footprint footprint_;
};

}  // namespace

double HostBytes(const MeshShape& mesh, const std::vector<RankBytes>& by_stage, const Rig& rig) {
  double bytes = 0;
  for (const RankBytes& stage : by_stage) bytes += static_cast<double>(stage.host);
  return bytes * mesh.tp * mesh.dp / rig.hosts;
}

Candidates MakeCandidates(const SearchSpace& space) {
  Candidates found;
  Maker maker(space);
  for (const MeshShape& mesh : MeshesOf(space)) maker.AddMesh(mesh, found);
  std::stable_sort(found.all.begin(), found.all.end(),
                   [](const Candidate& a, const Candidate& b) { return a.cost < b.cost; });
  return found;
}

}  // namespace fttrain
