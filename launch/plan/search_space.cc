#include "launch/plan/search_space.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace fttrain {
namespace {

template <typename T>
std::vector<T> Choices(const SearchSpace& space, const char* key, T as_it_is, std::vector<T> all) {
  return space.Keeps(key) ? std::vector<T>{as_it_is} : std::move(all);
}

template <typename T>
std::vector<T> If(bool condition, T plain, T other) {
  return condition ? std::vector<T>{plain, other} : std::vector<T>{plain};
}

}  // namespace

const std::vector<std::string>& SearchedKeys() {
  static const std::vector<std::string> keys = {
      "parallel.tensor",           "parallel.pipeline",          "parallel.expert",
      "parallel.zero_stage",       "parallel.pipeline_schedule", "parallel.chunks_per_stage",
      "parallel.layers_per_stage", "train.micro_batch_size",     "memory.recompute",
      "memory.activations",        "memory.base_weights",        "memory.embedding",
      "optimizer.state",           "optimizer.device",
  };
  return keys;
}

std::vector<int64_t> RoomByStage(const std::vector<int64_t>& room, const MeshShape& mesh) {
  std::vector<int64_t> least(static_cast<size_t>(mesh.pp), std::numeric_limits<int64_t>::max());
  for (size_t rank = 0; rank < room.size(); ++rank) {
    int64_t& of = least[static_cast<size_t>(PositionOfRank(mesh, static_cast<int>(rank)).pp)];
    of = std::min(of, room[rank]);
  }
  return least;
}

std::string MeshName(const MeshShape& mesh) {
  std::vector<std::string> parts;
  if (mesh.tp > 1) parts.push_back(absl::StrCat("tensor ", mesh.tp));
  if (mesh.pp > 1) parts.push_back(absl::StrCat("pipeline ", mesh.pp));
  if (mesh.dp > 1) parts.push_back(absl::StrCat("replicas ", mesh.dp));
  if (mesh.ep > 1) parts.back() += absl::StrCat(" (experts over ", mesh.ep, ")");
  return parts.empty() ? "one card" : absl::StrJoin(parts, " x ");
}

LeverChoices::LeverChoices(const SearchSpace& space, const MeshShape& mesh) {
  const Layout& base = space.base;
  const bool frozen = space.task.form.adapter.has_value();
  const bool table = frozen && !space.task.model.head.tied;
  recompute_ = Choices(space, "memory.recompute", base.recompute,
                       {Recompute::kNone, Recompute::kSmart, Recompute::kFull});
  activations_ =
      Choices(space, "memory.activations", base.activations, {Place::kDevice, Place::kHost});
  embedding_ =
      Choices(space, "memory.embedding", base.embedding, If(table, Place::kDevice, Place::kHost));
  std::vector<FrozenPlace> places = {FrozenPlace::kDevice};
  if (frozen) places.insert(places.end(), {FrozenPlace::kHost, FrozenPlace::kDisk});
  base_ = Choices(space, "memory.base_weights", base.frozen, places);
  zero_ = Choices(space, "parallel.zero_stage", base.zero_stage,
                  mesh.dp > 1 ? std::vector<int>{1, 2, 3} : std::vector<int>{1});
  moments_ = Choices(space, "optimizer.state", space.task.moments,
                     {MomentStorage::kGradientDtype, MomentStorage::kInt8});
  state_ = Choices(space, "optimizer.device", base.state, {StatePlace::kDevice, StatePlace::kHost});
}

std::vector<Pulled> LeverChoices::Subsets() const {
  const size_t values[kLevers] = {recompute_.size(), activations_.size(), embedding_.size(),
                                  base_.size(),      zero_.size(),        moments_.size(),
                                  state_.size()};
  std::vector<Pulled> all = {{}};
  for (size_t lever = 0; lever < kLevers; ++lever) {
    const size_t known = all.size();
    for (size_t value = 1; value < values[lever]; ++value) {
      for (size_t i = 0; i < known; ++i) {
        Pulled further = all[i];
        further[lever] = static_cast<int>(value);
        all.push_back(further);
      }
    }
  }
  std::stable_sort(all.begin(), all.end(), [](const Pulled& a, const Pulled& b) {
    return std::accumulate(a.begin(), a.end(), 0) < std::accumulate(b.begin(), b.end(), 0);
  });
  return all;
}

void LeverChoices::Pull(const Pulled& pulled, Layout& layout, MomentStorage& moments) const {
  const auto at = [&](const auto& values, Lever lever) {
    return values[static_cast<size_t>(pulled[static_cast<size_t>(lever)])];
  };
  layout.recompute = at(recompute_, Lever::kRecompute);
  layout.activations = at(activations_, Lever::kActivations);
  layout.embedding = at(embedding_, Lever::kEmbedding);
  layout.frozen = at(base_, Lever::kBase);
  layout.zero_stage = at(zero_, Lever::kZero);
  moments = at(moments_, Lever::kMoments);
  layout.state = at(state_, Lever::kState);
}

bool PullsNoMore(const Pulled& a, const Pulled& b) {
  for (size_t i = 0; i < kLevers; ++i) {
    if (a[i] > b[i]) return false;
  }
  return true;
}

std::vector<std::string> LeversOf(const Layout& layout, MomentStorage moments) {
  std::vector<std::string> levers;
  const auto add = [&](bool is_pulled, std::string lever) {
    if (is_pulled) levers.push_back(std::move(lever));
  };
  add(layout.embedding == Place::kHost, "memory.embedding=host");
  add(layout.recompute == Recompute::kSmart, "memory.recompute=smart");
  add(layout.recompute == Recompute::kFull, "memory.recompute=full");
  add(layout.mesh.dp > 1 && layout.zero_stage > 1,
      absl::StrCat("parallel.zero_stage=", layout.zero_stage));
  add(moments == MomentStorage::kInt8, "optimizer.state=int8");
  add(layout.state == StatePlace::kHost, "optimizer.device=host");
  add(layout.activations == Place::kHost, "memory.activations=host");
  add(layout.frozen == FrozenPlace::kHost, "memory.base_weights=host");
  add(layout.frozen == FrozenPlace::kDisk, "memory.base_weights=disk");
  return levers;
}

}  // namespace fttrain
