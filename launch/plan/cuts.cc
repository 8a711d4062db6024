// The ways to cut a model over the cards of a rig: meshes, schedules, layers of stages.
#include <algorithm>
#include <numeric>

#include "launch/plan/search_space.h"
#include "model/config/checks.h"
#include "model/network/runs.h"

namespace fttrain {
namespace {

constexpr int64_t kMostRows = 16;  // of a microbatch
constexpr int kChunks[] = {2, 4};  // of interleaved schedules

bool CardsDiffer(const Rig& rig) {
  const Card& first = rig.cards.front();
  return std::any_of(rig.cards.begin(), rig.cards.end(), [&](const Card& card) {
    return card.memory_bytes != first.memory_bytes || card.gemm_flops != first.gemm_flops;
  });
}

// Whether some tensor-parallel ranks have different cards, which a run of a model with experts
// refuses (CheckSameChoice).
bool CardsDifferAlong(int tp, const Rig& rig) {
  const auto size = static_cast<size_t>(tp);
  for (size_t rank = 0; rank < rig.cards.size(); ++rank) {
    if (rig.cards[rank].name != rig.cards[rank - rank % size].name) return true;
  }
  return false;
}

// `layers` divided as `weights` are, each at least one.
std::vector<int> Divided(int64_t layers, const std::vector<double>& weights) {
  const double all = std::accumulate(weights.begin(), weights.end(), 0.0);
  const auto count = static_cast<int64_t>(weights.size());
  std::vector<int> runs;
  double until = 0;
  int64_t given = 0;
  for (int64_t i = 0; i < count; ++i) {
    until += weights[static_cast<size_t>(i)];
    const auto end = static_cast<int64_t>(static_cast<double>(layers) * until / all + 0.5);
    const int64_t here = std::clamp<int64_t>(end - given, 1, layers - given - (count - 1 - i));
    runs.push_back(static_cast<int>(here));
    given += here;
  }
  return runs;
}

// Layers of each stage, balanced by cost; where cards differ also by their speed, by their memory,
// and in steps between the two.
std::vector<std::vector<int>> SplitsOf(const SearchSpace& space, const MeshShape& mesh,
                                       int chunks) {
  if (space.Keeps("parallel.layers_per_stage")) return {space.base.layers_per_run};
  std::vector<std::vector<int>> splits = {BalancedRuns(space.task.model, mesh.pp * chunks)};
  if (mesh.pp == 1 || chunks > 1 || !CardsDiffer(space.rig)) return splits;
  const std::vector<int64_t> room = RoomByStage(space.room, mesh);
  constexpr int kSteps = 8;
  for (int step = 0; step <= kSteps; ++step) {
    std::vector<double> weights;
    for (int stage = 0; stage < mesh.pp; ++stage) {
      const Card& card = space.rig.cards[static_cast<size_t>(stage * mesh.tp)];
      const double speed = card.gemm_flops / space.rig.cards.front().gemm_flops;
      const double memory =
          static_cast<double>(room[static_cast<size_t>(stage)]) / static_cast<double>(room.front());
      weights.push_back((speed * (kSteps - step) + memory * step) / kSteps);
    }
    std::vector<int> split = Divided(space.task.model.num_layers(), weights);
    if (std::find(splits.begin(), splits.end(), split) == splits.end()) {
      splits.push_back(std::move(split));
    }
  }
  return splits;
}

// `layout` under every schedule that its mesh has.
void AddSchedules(const SearchSpace& space, Layout layout, std::vector<Layout>& cuts) {
  const int pp = layout.mesh.pp;
  const auto layers = static_cast<size_t>(space.task.model.num_layers());
  const auto add = [&](PipelineKind kind, int chunks) {
    if (space.Keeps("parallel.pipeline_schedule") && kind != space.base.schedule) return;
    if (space.Keeps("parallel.chunks_per_stage") && kind == PipelineKind::kInterleaved &&
        static_cast<size_t>(pp * chunks) != space.base.layers_per_run.size()) {
      return;
    }
    layout.schedule = kind;
    if (kind == PipelineKind::kLayerMajor) {
      layout.layers_per_run.assign(layers, 1);
      cuts.push_back(layout);
      return;
    }
    for (std::vector<int>& runs : SplitsOf(space, layout.mesh, chunks)) {
      layout.layers_per_run = std::move(runs);
      if (static_cast<int>(layout.layers_per_run.size()) != pp * chunks) continue;
      if (CheckLayout(space.task, layout).ok()) cuts.push_back(layout);
    }
  };
  add(PipelineKind::kOneForwardOneBackward, 1);
  if (space.Keeps("parallel.pipeline_schedule")) add(PipelineKind::kGPipe, 1);
  if (pp == 1 && !space.Keeps("parallel.layers_per_stage")) add(PipelineKind::kLayerMajor, 1);
  for (const int chunks : kChunks) {
    if (pp > 1 && static_cast<size_t>(pp * chunks) <= layers)
      add(PipelineKind::kInterleaved, chunks);
  }
}

}  // namespace

std::vector<MeshShape> MeshesOf(const SearchSpace& space) {
  const int here = space.rig.cards_per_host(), cards = here * space.rig.hosts;
  std::vector<MeshShape> meshes;
  for (int tp = 1; tp <= here; ++tp) {
    if (here % tp != 0 || !CheckTensorParallel(space.task.model, tp).ok()) continue;
    if (space.Keeps("parallel.tensor") && tp != space.base.mesh.tp) continue;
    if (HasExperts(space.task.model) && CardsDifferAlong(tp, space.rig)) continue;
    for (int pp = 1; pp <= cards / tp; ++pp) {
      if (cards / tp % pp != 0 || pp > space.task.model.num_layers()) continue;
      if (space.Keeps("parallel.pipeline") && pp != space.base.mesh.pp) continue;
      const int dp = cards / tp / pp;
      for (int ep = 1; ep <= dp; ++ep) {
        if (dp % ep != 0 || !CheckExpertParallel(space.task.model, ep).ok()) continue;
        if (space.Keeps("parallel.expert") && ep != space.base.mesh.ep) continue;
        meshes.push_back({.tp = tp, .pp = pp, .dp = dp, .ep = ep});
      }
    }
  }
  return meshes;
}

std::vector<Layout> CutsOf(const SearchSpace& space, const MeshShape& mesh) {
  std::vector<int64_t> rows_of_microbatch;
  if (space.Keeps("train.micro_batch_size")) {
    rows_of_microbatch = {space.base.micro_batch_rows};
  } else {
    for (int64_t rows = 1; rows <= kMostRows; rows *= 2) rows_of_microbatch.push_back(rows);
  }
  std::vector<Layout> cuts;
  Layout layout = space.base;
  layout.mesh = mesh;
  for (const int64_t rows : rows_of_microbatch) {
    if (space.task.rows_per_step % (rows * mesh.dp) != 0) continue;
    layout.micro_batch_rows = rows;
    AddSchedules(space, layout, cuts);
  }
  return cuts;
}

}  // namespace fttrain
