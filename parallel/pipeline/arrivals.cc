#include "parallel/pipeline/arrivals.h"

#include <algorithm>
#include <limits>

#include "parallel/pipeline/simulator.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

using Kind = PipelineStep::Kind;

constexpr double kTick = 1.0;

int LastRun(const PipelineSchedule& stages) {
  int last = 0;
  for (const PipelineStep& step : stages.back()) last = std::max(last, step.chunk);
  return (last + 1) * static_cast<int>(stages.size()) - 1;
}

// When `stage` sends its messages of a kind.
std::vector<double> SentAt(Kind kind, int stage, const PipelineSchedule& stages,
                           const std::vector<double>& begins) {
  const int num_stages = static_cast<int>(stages.size());
  const int end = kind == Kind::kForward ? LastRun(stages) : 0;  // it has none to send to
  std::vector<double> sent;
  size_t cell = 0;
  for (const PipelineStep& step : stages[stage]) {
    const bool sends = step.kind == kind && step.chunk * num_stages + stage != end;
    for (size_t i = 0; i < step.microbatches.size(); ++i, ++cell) {
      if (sends) sent.push_back(begins[cell] + kTick);
    }
  }
  return sent;
}

size_t Until(double time, const std::vector<double>& sent) {
  return static_cast<size_t>(std::upper_bound(sent.begin(), sent.end(), time) - sent.begin());
}

}  // namespace

absl::StatusOr<std::vector<Arrivals>> ArrivalsAt(int stage, const PipelineSchedule& stages) {
  FT_ASSIGN_OR_RETURN(const Simulation run,
                      Simulate(stages, {.forward_seconds = kTick,
                                        .backward_seconds = kTick,
                                        .buffers = std::numeric_limits<int>::max()}));
  const int num_stages = static_cast<int>(stages.size());
  const int before = (stage + num_stages - 1) % num_stages, after = (stage + 1) % num_stages;
  const std::vector<double> forward =
      SentAt(Kind::kForward, before, stages, run.begins[static_cast<size_t>(before)]);
  const std::vector<double> backward =
      SentAt(Kind::kBackward, after, stages, run.begins[static_cast<size_t>(after)]);
  std::vector<Arrivals> arrivals;
  for (const double begin : run.begins[static_cast<size_t>(stage)]) {
    arrivals.push_back({Until(begin, forward), Until(begin, backward)});
  }
  return arrivals;
}

}  // namespace fttrain
