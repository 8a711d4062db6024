// Which schedule, and how many chunks a stage, wait least on a given link? Simulated: a stage's
// forward takes 1 / v, its backward `backward` / v for each of v chunks, a message `transfer`.
// Idle: the share of stages' time that is spent waiting; closed form: without transfers. In flight:
// the activations stage 0 keeps at the most, in microbatches of its whole stage.
//   schedules_bench [transfer] [backward]
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "parallel/pipeline/schedule.h"
#include "parallel/pipeline/simulator.h"

namespace fttrain {
namespace {

struct Way {
  const char* name;
  PipelineKind kind;
  int chunks;
};
constexpr Way kWays[] = {{"gpipe", PipelineKind::kGPipe, 1},
                         {"1f1b", PipelineKind::kOneForwardOneBackward, 1},
                         {"interleaved v 2", PipelineKind::kInterleaved, 2},
                         {"interleaved v 4", PipelineKind::kInterleaved, 4}};

int Print(const Way& way, int num_stages, int microbatches, double transfer, double backward) {
  const int v = way.chunks;
  std::vector<std::vector<PipelineStep>> stages;
  for (int stage = 0; stage < num_stages; ++stage) {
    stages.push_back(MakePipelineSchedule(way.kind, stage, num_stages, v, microbatches));
  }
  SimulationOptions options;
  options.forward_seconds = 1.0 / v;
  options.backward_seconds = backward / v;
  options.transfer_seconds = transfer;
  options.buffers = 2;
  const absl::StatusOr<Simulation> run = Simulate(stages, options);
  if (!run.ok()) {
    std::fprintf(stderr, "%s: %s\n", way.name, run.status().ToString().c_str());
    return 1;
  }
  double busy = 0;
  for (const double seconds : run->busy_seconds) busy += seconds;
  const double wait = num_stages - 1.0;
  std::printf("| %d | %d | %s | %.3f | %.3f | %.1f |\n", num_stages, microbatches, way.name,
              1 - busy / (num_stages * run->seconds), wait / (v * microbatches + wait),
              static_cast<double>(MostInFlight(stages[0])) / v);
  return 0;
}

int Main(int argc, char** argv) {
  const double transfer = argc > 1 ? std::atof(argv[1]) : 0.1;
  const double backward = argc > 2 ? std::atof(argv[2]) : 2.0;
  if (!(transfer >= 0 && backward > 0)) {
    std::fprintf(stderr, "schedules_bench [transfer] [backward]: seconds, a forward being 1\n");
    return 2;
  }
  std::printf(
      "| stages | microbatches | schedule | idle | closed form | in flight |\n"
      "|---|---|---|---|---|---|\n");
  for (const int num_stages : {2, 4, 8}) {
    for (const int microbatches : {8, 32}) {
      for (const Way& way : kWays) {
        if (Print(way, num_stages, microbatches, transfer, backward) != 0) return 1;
      }
    }
  }
  return 0;
}

}  // namespace
}  // namespace fttrain

int main(int argc, char** argv) { return fttrain::Main(argc, argv); }
