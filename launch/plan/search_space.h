// What a search for layouts goes over: the task and the rig, and which keys of the config stay as
// they are. The cuts of a model over cards, and the levers of memory. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "launch/plan/layout.h"
#include "launch/plan/rig.h"

namespace fttrain {

struct SearchSpace {
  const Task& task;
  const Layout& base;  // of what is not searched
  const Rig& rig;
  std::set<std::string> kept;  // keys that stay as `base` has them: "memory.recompute"
  std::vector<int64_t> room;   // of the device, by rank

  bool Keeps(const char* key) const { return kept.count(key) > 0; }
};

// What of a host's memory its ranks may take together: a tenth is the system's.
inline int64_t HostRoomOf(const Rig& rig) { return rig.host_memory_bytes / 10 * 9; }

// The keys that a search chooses where they are not kept.
const std::vector<std::string>& SearchedKeys();

// The least room of each stage's ranks.
std::vector<int64_t> RoomByStage(const std::vector<int64_t>& room, const MeshShape& mesh);

// "tensor 2 x pipeline 2", "replicas 4", "one card".
std::string MeshName(const MeshShape& mesh);

// Every way to divide the cards, and the experts over replicas. Tensor parallelism stays within a
// host.
std::vector<MeshShape> MeshesOf(const SearchSpace& space);
// Those of a mesh: its schedules, the layers of its stages, rows of a microbatch.
std::vector<Layout> CutsOf(const SearchSpace& space, const MeshShape& mesh);

// How far each lever is pulled: an index into its values, of which the first is the plainest.
enum class Lever : size_t {
  kRecompute,
  kActivations,
  kEmbedding,
  kBase,
  kZero,
  kMoments,
  kState,
  kCount
};
constexpr size_t kLevers = static_cast<size_t>(Lever::kCount);
using Pulled = std::array<int, kLevers>;

// The levers that a mesh has.
class LeverChoices {
 public:
  LeverChoices(const SearchSpace& space, const MeshShape& mesh);
  // All ways to pull them, those with less before those with more.
  std::vector<Pulled> Subsets() const;
  void Pull(const Pulled& pulled, Layout& layout, MomentStorage& moments) const;

 private:
  std::vector<Recompute> recompute_;
  std::vector<Place> activations_, embedding_;
  std::vector<FrozenPlace> base_;
  std::vector<int> zero_;
  std::vector<MomentStorage> moments_;
  std::vector<StatePlace> state_;
};

// Whether `a` pulls no lever further than `b`.
bool PullsNoMore(const Pulled& a, const Pulled& b);

// What of a layout's memory is not the plainest, as KEY=VALUE, the cheapest first.
std::vector<std::string> LeversOf(const Layout& layout, MomentStorage moments);

}  // namespace fttrain
