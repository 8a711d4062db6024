#include "launch/plan/step_time.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include "launch/plan/stage_time.h"
#include "parallel/pipeline/simulator.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

constexpr int kPlaces = 2;  // of messages between two stages (StageLinksOptions)

// A group of ranks waits for its slowest.
Card Slowest(const Card& a, const Card& b) {
  Card slowest = a;
  slowest.gemm_flops = std::min(a.gemm_flops, b.gemm_flops);
  slowest.attention_flops = std::min(a.attention_flops, b.attention_flops);
  slowest.memory_bytes_per_second = std::min(a.memory_bytes_per_second, b.memory_bytes_per_second);
  return slowest;
}

Card CardOfStage(const Layout& layout, const Rig& rig, int replica, int stage) {
  const int first = (replica * layout.mesh.pp + stage) * layout.mesh.tp;
  const auto begin = rig.cards.begin() + first;
  return std::accumulate(begin, begin + layout.mesh.tp, *begin, Slowest);
}

// One replica's step, in the order of its schedule.
struct Played {
  std::vector<StageTime> stages;
  PipelineSchedule schedule;
  Simulation run;
  double without_transfers = 0;  // seconds
  double end = 0;
  double seconds() const { return run.seconds + end; }
};

SimulationOptions SimulationOf(const std::vector<StageTime>& stages) {
  const size_t chunks = stages[0].forward.size();
  SimulationOptions options;
  options.buffers = kPlaces;
  for (size_t chunk = 0; chunk < chunks; ++chunk) {
    for (const StageTime& stage : stages) {
      options.forward_of_run.push_back(stage.forward[chunk].Total());
      options.backward_of_run.push_back(stage.backward[chunk].Total());
    }
  }
  return options;
}

Simulation Run(const PipelineSchedule& schedule, const SimulationOptions& options) {
  absl::StatusOr<Simulation> run = Simulate(schedule, options);
  FT_CHECK(run.ok(), run.status().ToString());
  return *std::move(run);
}

Played Play(std::vector<StageTime> stages, const Task& task, const Layout& layout,
            const StepCounts& counts, const Links& links) {
  Played played;
  played.stages = std::move(stages);
  const int pp = layout.mesh.pp;
  const auto chunks = static_cast<int>(played.stages[0].forward.size());
  played.schedule = MakeAllStages(layout.schedule, pp, chunks, counts.microbatches);
  SimulationOptions options = SimulationOf(played.stages);
  played.run = Run(played.schedule, options);
  played.without_transfers = played.run.seconds;
  if (pp > 1) {
    const auto bytes = static_cast<double>(LinksOptionsOf(task, layout).max_message_bytes);
    options.transfer_seconds = bytes / links.pp;
    played.run = Run(played.schedule, options);
  }
  for (const StageTime& stage : played.stages) {
    played.end = std::max(played.end, stage.end.Total());
  }
  return played;
}

std::vector<std::vector<StageSpan>> SpansOf(const Played& played) {
  std::vector<std::vector<StageSpan>> spans(played.schedule.size());
  for (size_t stage = 0; stage < spans.size(); ++stage) {
    const StageTime& time = played.stages[stage];
    size_t next = 0;
    for (const PipelineStep& step : played.schedule[stage]) {
      const bool forward = step.kind == PipelineStep::Kind::kForward;
      const auto chunk = static_cast<size_t>(step.chunk);
      const double seconds = (forward ? time.forward : time.backward)[chunk].Total();
      for (const int microbatch : step.microbatches) {
        const double begin = played.run.begins[stage][next++];
        spans[stage].push_back({forward, step.chunk, microbatch, begin, begin + seconds});
      }
    }
  }
  return spans;
}

Parts PartsOf(const StageTime& stage, int microbatches) {
  Parts parts;
  for (size_t chunk = 0; chunk < stage.forward.size(); ++chunk) {
    parts = parts + stage.forward[chunk] + stage.backward[chunk];
  }
  return microbatches * parts + stage.end;
}

std::string BoundOf(const Parts& parts, double bubble) {
  const std::pair<double, const char*> candidates[] = {
      {parts.work + parts.recompute, "products of the cards"},
      {parts.streaming + parts.dequantize, "memory of the cards"},
      {parts.communication, "links between the cards"},
      {parts.host_copies, "copies from and to the host"},
      {parts.optimizer, "the optimizer's update"},
      {bubble, "stages that wait for each other"}};
  return std::max_element(std::begin(candidates), std::end(candidates))->second;
}

// Shares of the stage that is busy longest.
void SetShares(const Played& played, int microbatches, StepTime& time) {
  Parts busiest;
  for (const StageTime& stage : played.stages) {
    const Parts parts = PartsOf(stage, microbatches);
    if (parts.Total() > busiest.Total()) busiest = parts;
  }
  const double transfers = std::max(0.0, played.run.seconds - played.without_transfers);
  const double bubble = std::max(0.0, time.seconds - transfers - busiest.Total());
  busiest.communication += transfers;
  time.bubble = bubble / time.seconds;
  time.communication = busiest.communication / time.seconds;
  time.dequantize = busiest.dequantize / time.seconds;
  time.recompute = busiest.recompute / time.seconds;
  time.host_copies = busiest.host_copies / time.seconds;
  time.optimizer = busiest.optimizer / time.seconds;
  time.bound = BoundOf(busiest, bubble);
}

}  // namespace

StepTime TimeOf(const Task& task, const Layout& layout, const Rig& rig,
                const Efficiencies& efficiencies) {
  const MeshShape& mesh = layout.mesh;
  FT_CHECK(static_cast<size_t>(mesh.world_size()) == rig.cards.size(), mesh.world_size(),
           " ranks on ", rig.cards.size(), " cards");
  const Links links = LinksOf(layout, rig);
  const StepCounts counts = CountStep(task, layout, efficiencies);
  // The slowest replica's.
  Played slowest;
  std::vector<std::vector<Card>> seen;
  for (int replica = 0; replica < mesh.dp; ++replica) {
    std::vector<Card> cards;
    for (int stage = 0; stage < mesh.pp; ++stage) {
      cards.push_back(CardOfStage(layout, rig, replica, stage));
    }
    if (std::find(seen.begin(), seen.end(), cards) != seen.end()) continue;
    std::vector<StageTime> stages;
    for (int stage = 0; stage < mesh.pp; ++stage) {
      stages.push_back(TimeOfStage(stage, task, layout, counts, cards[static_cast<size_t>(stage)],
                                   links, efficiencies));
    }
    Played played = Play(std::move(stages), task, layout, counts, links);
    if (seen.empty() || played.seconds() > slowest.seconds()) slowest = std::move(played);
    seen.push_back(std::move(cards));
  }
  StepTime time;
  time.seconds = slowest.seconds();
  time.tokens = static_cast<double>(task.rows_per_step * task.rows.sequence_len);
  SetShares(slowest, counts.microbatches, time);
  double peak = 0;
  for (const Card& card : rig.cards) peak += card.peak_flops;
  if (peak > 0) time.mfu = UsefulFlops(task) * time.tokens / time.seconds / peak;
  time.stages = SpansOf(slowest);
  return time;
}

}  // namespace fttrain
