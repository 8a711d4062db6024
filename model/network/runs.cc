#include "model/network/runs.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "model/config/alike_linears.h"

namespace fttrain {
namespace {

// Elements of the matrices of a layer that a token meets, on average: what its products cost.
double LayerCost(const ModelSpec& model) {
  double elements = 0;
  ForEachAlikeLinear(model, [&](const LinearSpec& linear, int64_t times) {
    elements += static_cast<double>(times * linear.in * linear.out) * linear.token_share;
  });
  return elements / static_cast<double>(model.num_layers());
}

}  // namespace

std::vector<int> BalancedRuns(const ModelSpec& model, int runs) {
  const int layers = static_cast<int>(model.num_layers());
  if (runs == 1) return {layers};
  const double head = static_cast<double>(model.vocab_size * model.hidden_size) / LayerCost(model);
  int best = 1;
  double best_cost = 0;
  // Layers beside the head; the rest is divided evenly.
  for (int last = 1; last <= layers - (runs - 1); ++last) {
    const int others = (layers - last + runs - 2) / (runs - 1);
    const double cost = std::max<double>(others, last + head);
    if (last == 1 || cost <= best_cost) {
      best = last;
      best_cost = cost;
    }
  }
  const int rest = layers - best, others = runs - 1;
  std::vector<int> counts(static_cast<size_t>(runs), rest / others);
  for (int i = 0; i < rest % others; ++i) ++counts[static_cast<size_t>(others - 1 - i)];
  counts.back() = best;
  return counts;
}

absl::Status CheckRuns(const std::vector<int>& layers_per_run, const ModelSpec& model, int runs) {
  const auto refuse = [&](const std::string& why) {
    return absl::InvalidArgumentError(absl::StrCat("parallel.layers_per_stage [",
                                                   absl::StrJoin(layers_per_run, ", "), "] ", why));
  };
  if (static_cast<int>(layers_per_run.size()) != runs) {
    return refuse(absl::StrCat("has ", layers_per_run.size(), " entries, but there are ", runs,
                               " runs of layers (parallel.pipeline x chunks_per_stage)"));
  }
  if (*std::min_element(layers_per_run.begin(), layers_per_run.end()) < 1) {
    return refuse("has an entry below 1");
  }
  const int sum = std::accumulate(layers_per_run.begin(), layers_per_run.end(), 0);
  if (sum == model.num_layers()) return absl::OkStatus();
  return refuse(absl::StrCat("sums to ", sum, ", but the model has ", model.num_layers(),
                             " layers; balanced: [", absl::StrJoin(BalancedRuns(model, runs), ", "),
                             "]"));
}

std::vector<LayerRun> RunsOfStage(const std::vector<int>& layers_per_run, int num_stages,
                                  int stage) {
  const int runs = static_cast<int>(layers_per_run.size());
  std::vector<LayerRun> mine;
  int begin = 0;
  for (int run = 0; run < runs; ++run) {
    const int end = begin + layers_per_run[static_cast<size_t>(run)];
    if (run % num_stages == stage) mine.push_back({begin, end, run == 0, run == runs - 1});
    begin = end;
  }
  return mine;
}

std::string ToString(const std::vector<LayerRun>& runs) {
  std::vector<std::string> parts;
  for (const LayerRun& run : runs) {
    if (run.first) parts.push_back("embedding");
    const std::string range = run.end - run.begin == 1 ? absl::StrCat(run.begin)
                                                       : absl::StrCat(run.begin, "-", run.end - 1);
    parts.push_back(absl::StrCat(parts.empty() || run.first ? "layers " : "", range));
    if (run.last) parts.push_back("head");
  }
  return absl::StrJoin(parts, ", ");
}

}  // namespace fttrain
