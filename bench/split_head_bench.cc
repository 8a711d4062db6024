// Does a head that is split over pipeline stages pay for itself on models that people fine-tune
// with LoRA? Simulated from the products of layers and head. Each number: the step time with a
// split head against the best without, the least over 8, 16 and 32 microbatches, PCIe and NVLink,
// recompute full and none, targets in all rows and in half of them. In favour of the split head:
// its messages do not share a link, its smaller products are as fast, its two more passes over the
// logits take no time.
//   split_head_bench
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <vector>

#include "model/network/runs.h"
#include "parallel/pipeline/schedules.h"
#include "parallel/pipeline/simulator.h"

namespace fttrain {
namespace {

struct Geometry {
  const char* name;
  int64_t hidden, layers, ffn, heads, kv_heads, head_dim, vocab;
};
constexpr Geometry kModels[] = {{"gemma-3-1b", 1152, 26, 6912, 4, 1, 256, 262144},
                                {"gemma-2-2b", 2304, 26, 9216, 8, 4, 256, 256000},
                                {"gemma-3-4b", 2560, 34, 10240, 8, 4, 256, 262208},
                                {"gemma-2-9b", 3584, 42, 14336, 16, 8, 256, 256000},
                                {"gemma-3-12b", 3840, 48, 15360, 16, 8, 256, 262208},
                                {"gemma-2-27b", 4608, 46, 36864, 32, 16, 128, 256000},
                                {"gemma-3-27b", 5376, 62, 21504, 32, 16, 128, 262208},
                                {"llama-3.2-1b", 2048, 16, 8192, 32, 8, 64, 128256},
                                {"llama-3.2-3b", 3072, 28, 8192, 24, 8, 128, 128256},
                                {"llama-3.1-8b", 4096, 32, 14336, 32, 8, 128, 128256},
                                {"llama-3.1-70b", 8192, 80, 28672, 64, 8, 128, 128256},
                                {"qwen2.5-0.5b", 896, 24, 4864, 14, 2, 64, 151936},
                                {"qwen2.5-1.5b", 1536, 28, 8960, 12, 2, 128, 151936},
                                {"qwen2.5-3b", 2048, 36, 11008, 16, 2, 128, 151936},
                                {"qwen2.5-7b", 3584, 28, 18944, 28, 4, 128, 152064},
                                {"qwen2.5-14b", 5120, 48, 13824, 40, 8, 128, 152064},
                                {"qwen2.5-32b", 5120, 64, 27648, 40, 8, 128, 152064},
                                {"qwen2.5-72b", 8192, 80, 29568, 64, 8, 128, 152064}};

struct Hardware {
  double bytes_per_second, flops_per_second;
};
constexpr Hardware kPcie{12e9, 100e12}, kNvlink{200e9, 400e12};

constexpr double kTokens = 4096, kDocument = 2048;  // of a microbatch; of one of its documents
constexpr double kMostWeightBytes = 10e9;           // on a rank, in bfloat16
constexpr double kNever = std::numeric_limits<double>::infinity();

struct Case {
  Geometry model;
  Hardware on;
  bool recompute;
  double targets;  // share of rows
};

int64_t QueryWidth(const Geometry& g) { return g.heads * g.head_dim; }
int64_t LayerElements(const Geometry& g) {
  return g.hidden * (2 * QueryWidth(g) + 2 * g.kv_heads * g.head_dim + 3 * g.ffn);
}

// Seconds for one microbatch. Frozen products cost as much forward as backward; attention's
// backward, which forms its scores again, 2.5 times its forward.
struct Costs {
  explicit Costs(const Case& c) {
    const double hidden = static_cast<double>(c.model.hidden);
    const double linear =
        2 * kTokens * static_cast<double>(LayerElements(c.model)) / c.on.flops_per_second;
    const double attention =
        2 * kTokens * kDocument * static_cast<double>(QueryWidth(c.model)) / c.on.flops_per_second;
    forward = linear + attention;
    backward = linear + 2.5 * attention + (c.recompute ? forward : 0);
    const double rows = kTokens * c.targets;
    head = 4 * rows * hidden * static_cast<double>(c.model.vocab) / c.on.flops_per_second;
    boundary = 2 * kTokens * hidden / c.on.bytes_per_second;
    head_rows = 2 * rows * hidden / c.on.bytes_per_second;
  }
  double OneRank(const Geometry& g) const {
    return static_cast<double>(g.layers) * (forward + backward) + head;
  }
  double forward, backward;  // of a layer
  double head;               // both, and the loss
  double boundary, head_rows;
};

double Seconds(const std::vector<std::vector<PipelineStep>>& stages, const std::vector<int>& layers,
               const Costs& costs, bool split) {
  const double num_stages = static_cast<double>(stages.size());
  SimulationOptions options;
  for (const int count : layers) {
    options.forward_of_run.push_back(count * costs.forward);
    options.backward_of_run.push_back(count * costs.backward);
  }
  // The head's forward makes its gradient too.
  if (!split) options.forward_of_run.back() += costs.head;
  options.head_seconds = costs.head / num_stages;
  options.transfer_seconds = costs.boundary;
  options.head_rows_seconds = costs.head_rows;
  options.head_part_seconds = costs.head_rows * (1 + 1 / num_stages);
  options.buffers = 2;
  const absl::StatusOr<Simulation> run = Simulate(stages, options);
  if (run.ok()) return run->seconds;
  std::fprintf(stderr, "%s\n", run.status().ToString().c_str());
  std::exit(1);
}

ModelConfig ConfigOf(const Geometry& g) {
  ModelConfig config;
  config.hidden_size = g.hidden;
  config.num_layers = g.layers;
  config.intermediate_size = g.ffn;
  config.num_heads = g.heads;
  config.num_kv_heads = g.kv_heads;
  config.head_dim = g.head_dim;
  config.vocab_size = g.vocab;
  return config;
}

// As `parallel.layers_per_stage` would say: `last` layers beside the head, `own` in each other run
// of the last stage, the rest evenly.
std::vector<int> Spread(int layers, int stages, int chunks, int last, int own) {
  const int rest = layers - last - (chunks - 1) * own, others = chunks * (stages - 1);
  if (rest < others) return {};
  std::vector<int> counts;
  int seen = 0;
  for (int run = 0; run < chunks * stages; ++run) {
    const bool more = run % stages != stages - 1 && seen++ >= others - rest % others;
    counts.push_back(rest / others + (more ? 1 : 0));
    if (run % stages == stages - 1) counts.back() = own;
  }
  counts.back() = last;
  return counts;
}

double BestWithout(const Case& c, const Costs& costs, PipelineKind kind, int stages, int chunks,
                   int microbatches) {
  std::vector<std::vector<PipelineStep>> lists;
  for (int stage = 0; stage < stages; ++stage) {
    lists.push_back(MakePipelineSchedule(kind, stage, stages, chunks, microbatches));
  }
  const int layers = static_cast<int>(c.model.layers), even = layers / (stages * chunks);
  double best =
      Seconds(lists, BalancedRuns(ConfigOf(c.model), stages * chunks), costs, /*split=*/false);
  for (int last = 1; last <= even + 1; ++last) {
    for (int own = 1; own <= (chunks == 1 ? 1 : even + 2); ++own) {
      const std::vector<int> counts = Spread(layers, stages, chunks, last, own);
      if (!counts.empty()) best = std::min(best, Seconds(lists, counts, costs, /*split=*/false));
    }
  }
  return best;
}

double BestWithout(const Case& c, const Costs& costs, int stages, int microbatches) {
  if (stages == 1) return microbatches * costs.OneRank(c.model);
  double best = kNever;
  for (const PipelineKind kind : {PipelineKind::kGPipe, PipelineKind::kOneForwardOneBackward}) {
    best = std::min(best, BestWithout(c, costs, kind, stages, 1, microbatches));
  }
  if (microbatches % stages != 0) return best;
  return std::min(best, BestWithout(c, costs, PipelineKind::kInterleaved, stages, 2, microbatches));
}

double BestWith(const Case& c, const Costs& costs, int stages, int microbatches) {
  double best = kNever;
  const std::vector<int> even = BalancedRuns(ConfigOf(c.model), stages, /*split_head=*/true);
  for (const PipelineKind kind : {PipelineKind::kGPipe, PipelineKind::kOneForwardOneBackward}) {
    std::vector<std::vector<PipelineStep>> lists;
    for (int stage = 0; stage < stages; ++stage) {
      lists.push_back(WithSplitHead(kind, stage, stages, microbatches));
    }
    best = std::min(best, Seconds(lists, even, costs, /*split=*/true));
  }
  return best;
}

// On as many ranks, with fewer stages and replicas of them, whose float32 gradients of rank 16
// adapters are summed.
double BestOfReplicas(const Case& c, const Costs& costs, int ranks, int microbatches) {
  const Geometry& g = c.model;
  const double weights =
      2.0 * static_cast<double>(g.layers * LayerElements(g) + g.hidden * g.vocab);
  const double adapters = 16.0 * static_cast<double>(g.layers) *
                          static_cast<double>(7 * g.hidden + 2 * QueryWidth(g) +
                                              2 * g.kv_heads * g.head_dim + 3 * g.ffn);
  double best = kNever;
  for (int stages = 1; stages < ranks; stages *= 2) {
    if (weights / stages > kMostWeightBytes) continue;
    const int replicas = ranks / stages;
    const double sum =
        4 * adapters / stages * 2 * (replicas - 1) / replicas / c.on.bytes_per_second;
    best = std::min(best, BestWithout(c, costs, stages, microbatches / replicas) + sum);
  }
  return best;
}

void Print(const Geometry& model) {
  std::printf("| %s |", model.name);
  for (const int stages : {2, 4, 8}) {
    double same_stages = kNever, same_ranks = kNever;
    for (const double targets : {1.0, 0.5}) {
      for (const bool recompute : {false, true}) {
        for (const Hardware& on : {kPcie, kNvlink}) {
          const Case c{model, on, recompute, targets};
          const Costs costs(c);
          for (const int microbatches : {8, 16, 32}) {
            const double with = BestWith(c, costs, stages, microbatches);
            const double without = BestWithout(c, costs, stages, microbatches);
            const double other = BestOfReplicas(c, costs, stages, microbatches);
            same_stages = std::min(same_stages, with / without);
            same_ranks = std::min(same_ranks, with / std::min(without, other));
          }
        }
      }
    }
    std::printf(" %.3f | %.3f |", same_stages, same_ranks);
  }
  std::printf("\n");
}

int Main() {
  std::printf(
      "| model | 2 stages | same ranks | 4 stages | same ranks | 8 stages | same ranks |\n"
      "|---|---|---|---|---|---|---|\n");
  for (const Geometry& model : kModels) Print(model);
  return 0;
}

}  // namespace
}  // namespace fttrain

int main() { return fttrain::Main(); }
