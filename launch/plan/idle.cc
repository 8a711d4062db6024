#include "launch/plan/idle.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_format.h"
#include "parallel/pipeline/simulator.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

double IdleShareOf(const Layout& layout, int64_t microbatches) {
  const int stages = layout.mesh.pp;
  if (stages == 1) return 0;
  const int chunks = std::max(1, static_cast<int>(layout.layers_per_run.size()) / stages);
  const absl::StatusOr<Simulation> played =
      Simulate(MakeAllStages(layout.schedule, stages, chunks, static_cast<int>(microbatches)), {});
  FT_CHECK(played.ok(), played.status().ToString());
  const std::vector<double>& busy = played->busy_seconds;
  return 1 - std::accumulate(busy.begin(), busy.end(), 0.0) / (stages * played->seconds);
}

}  // namespace

double IdleShare(const Task& task, const Layout& layout) {
  return IdleShareOf(layout, StepShapeOf(task, layout).accumulation);
}

std::string IdleWarning(const Task& task, const Layout& layout) {
  const int stages = layout.mesh.pp;
  const int64_t microbatches = StepShapeOf(task, layout).accumulation;
  if (microbatches >= stages) return "";
  const int64_t enough = int64_t{4} * stages;
  return absl::StrFormat(
      "a step has %d %s for %d stages, which wait %.0f%% of it for each other; "
      "train.gradient_accumulation_steps %d would make that %.0f%%, %d %.0f%%",
      microbatches, microbatches == 1 ? "microbatch" : "microbatches", stages,
      100 * IdleShareOf(layout, microbatches), stages, 100 * IdleShareOf(layout, stages), enough,
      100 * IdleShareOf(layout, enough));
}

}  // namespace fttrain
