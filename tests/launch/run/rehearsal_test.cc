// A rehearsal foretells the run: in every layout of a subset of the matrix that has every three
// values together, each rank's bytes by category, held and at most, are those that training counts.
#include "launch/run/rehearsal.h"

#include <gmock/gmock.h>

#include <optional>

#include "runtime/process/check.h"
#include "runtime/process/log.h"
#include "tests/launch/run/planned_layout.h"
#include "tests/launch/run/tiny_job.h"

namespace fttrain {
namespace {

RankMemory Trained(const Task& task, const Layout& layout) {
  const auto job = BuildTiny(task, layout);
  RankMemory memory = BeginMemory(TestProcess().rank());
  Trainer trainer(*job);
  for (int64_t step = 0; step < task.steps; ++step) {
    const auto metrics = trainer.Step(step);
    FT_CHECK(metrics.ok(), metrics.status().ToString());
  }
  return WithPeaks(memory);
}

void ExpectForetold(std::optional<at::ScalarType> compute) {
  int layouts = 0;
  for (const Combination& combination : CoveringSubset(WorkingCombinations())) {
    if (combination.Ranks() != TestProcess().world_size()) continue;
    SCOPED_TRACE(ToString(combination));
    auto run = Plan(combination);
    ASSERT_TRUE(run.ok()) << run.status();
    if (compute) run->task.form.compute = *compute;
    const RankMemory trained = Trained(run->task, run->layout);
    for (const int64_t largest_computed : {int64_t{0}, int64_t{4096}, int64_t{1} << 40}) {
      const auto planned = RehearseRank(run->task, run->layout, TinyInputs(run->task),
                                        TestProcess().rank(), largest_computed);
      ASSERT_TRUE(planned.ok()) << planned.status();
      EXPECT_EQ(ToString(*planned), ToString(trained)) << largest_computed;
    }
    ++layouts;
  }
  LogInfo(std::to_string(layouts) + " layouts on " + std::to_string(TestProcess().world_size()) +
          " ranks");
  EXPECT_GT(layouts, 0);
}

TEST(Rehearsal, ForetellsWhatEachRankHoldsInEveryLayout) { ExpectForetold(std::nullopt); }

TEST(Rehearsal, ForetellsItInBfloat16) { ExpectForetold(at::kBFloat16); }

// With bfloat16, as there is no attention of other kinds to rehearse.
TEST(Rehearsal, NeedsNoGpu) {
  int layouts = 0;
  for (const Combination& combination : CoveringSubset(WorkingCombinations())) {
    if (combination.Ranks() != TestProcess().world_size()) continue;
    SCOPED_TRACE(ToString(combination));
    auto run = Plan(combination);
    ASSERT_TRUE(run.ok()) << run.status();
    run->task.form.compute = at::kBFloat16;
    JobInputs inputs = TinyInputs(run->task);
    inputs.device = c10::Device(at::kCUDA, 0);
    const auto planned = RehearseRank(run->task, run->layout, inputs, TestProcess().rank());
    ASSERT_TRUE(planned.ok()) << planned.status();
    LogInfo(ToString(*planned));
    ++layouts;
  }
  EXPECT_GT(layouts, 0);
}

}  // namespace
}  // namespace fttrain
