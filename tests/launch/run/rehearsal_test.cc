// A rehearsal foretells the run: in every layout of a subset of the matrix that has every three
// values together, each rank's bytes by category, held and at most, are those that training counts.
#include "launch/run/rehearsal.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <optional>

#include "launch/plan/search.h"
#include "runtime/memory/rehearsal.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"
#include "tests/launch/run/planned_layout.h"
#include "tests/launch/run/tiny_job.h"

namespace fttrain {
namespace {

RankMemory Trained(Job& job) {
  RankMemory memory = BeginMemory(TestProcess().rank());
  Trainer trainer(job);
  for (int64_t step = 0; step < job.task().steps; ++step) {
    const auto metrics = trainer.Step(step);
    FT_CHECK(metrics.ok(), metrics.status().ToString());
  }
  return WithPeaks(memory);
}

RankMemory Trained(const Task& task, const Layout& layout) {
  return Trained(*BuildTiny(task, layout));
}

// body(run) for the layouts of these ranks.
template <typename Body>
void ForEachLayout(const Body& body) {
  int layouts = 0;
  for (const Combination& combination : CoveringSubset(WorkingCombinations())) {
    if (combination.Ranks() != TestProcess().world_size()) continue;
    SCOPED_TRACE(ToString(combination));
    auto run = Plan(combination);
    ASSERT_TRUE(run.ok()) << run.status();
    ASSERT_NO_FATAL_FAILURE(body(*run));
    ++layouts;
  }
  LogInfo(std::to_string(layouts) + " layouts on " + std::to_string(TestProcess().world_size()) +
          " ranks");
  EXPECT_GT(layouts, 0);
}

// Where experts are, a rehearsal takes the most tokens that each could have for what it has; where
// ranks divide them the most that all could send to one rank, at most `times` what it may hold
// else.
void ExpectEnough(const PlaceMemory& planned, const PlaceMemory& trained, int64_t times) {
  EXPECT_EQ(planned.held, trained.held);
  for (size_t i = 0; i < planned.peak.of.size(); ++i) {
    EXPECT_GE(planned.peak.of[i], trained.peak.of[i]) << i;
  }
  EXPECT_GE(planned.peak.total, trained.peak.total);
  EXPECT_LE(planned.peak.total, trained.peak.total * times * 5 / 4);
}

void ExpectForetold(std::optional<at::ScalarType> compute) {
  ForEachLayout([&](CheckedRun& run) {
    if (compute) run.task.form.compute = *compute;
    const RankMemory trained = Trained(run.task, run.layout);
    for (const int64_t largest_computed : {int64_t{0}, int64_t{4096}, int64_t{1} << 40}) {
      const auto planned = RehearseRank(run.task, run.layout, TinyInputs(run.task),
                                        TestProcess().rank(), /*first_step=*/0, largest_computed);
      ASSERT_TRUE(planned.ok()) << planned.status();
      if (HasExperts(run.task.model)) {
        const int64_t times = run.layout.mesh.ep > 1 ? 3 : 1;
        ExpectEnough(planned->device, trained.device, times);
        ExpectEnough(planned->host, trained.host, times);
      } else {
        EXPECT_EQ(ToString(*planned), ToString(trained)) << largest_computed;
      }
    }
  });
}

TEST(Rehearsal, ForetellsWhatEachRankHoldsInEveryLayout) { ExpectForetold(std::nullopt); }

TEST(Rehearsal, ForetellsItInBfloat16) { ExpectForetold(at::kBFloat16); }

// What a plan leaves out: ranks between those that are alike, and of a stage all but the fullest.
TEST(Rehearsal, OfAllRanksIsThatOfEachAndAStagesFullestRankIsKnown) {
  ForEachLayout([](CheckedRun& run) {
    const c10::Device cpu(c10::kCPU);
    const MeshShape& mesh = run.layout.mesh;
    const auto all = RehearseAllRanks(run.task, run.layout, cpu);
    ASSERT_TRUE(all.ok()) << all.status();
    const int rank = TestProcess().rank();
    const auto own = RehearseFullRows(run.task, run.layout, cpu, rank);
    ASSERT_TRUE(own.ok()) << own.status();
    EXPECT_EQ(ToString((*all)[static_cast<size_t>(rank)]), ToString(*own));
    int64_t most = 0;
    for (const int each :
         FullestRanks(run.layout, run.task.moments, PositionOfRank(mesh, rank).pp)) {
      most = std::max(most, (*all)[static_cast<size_t>(each)].device.peak.total);
    }
    EXPECT_LE(own->device.peak.total, most);
  });
}

// With bfloat16, as there is no attention of other kinds to rehearse. What is held is what a CPU
// holds, but for padding.
TEST(Rehearsal, NeedsNoGpu) {
  ForEachLayout([](CheckedRun& run) {
    run.task.form.compute = at::kBFloat16;
    JobInputs inputs = TinyInputs(run.task);
    const int rank = TestProcess().rank();
    const auto on_cpu = RehearseRank(run.task, run.layout, inputs, rank);
    inputs.device = c10::Device(at::kCUDA, 0);
    const auto planned = RehearseRank(run.task, run.layout, inputs, rank);
    ASSERT_TRUE(planned.ok() && on_cpu.ok()) << planned.status() << on_cpu.status();
    for (const MemoryCategory category : {MemoryCategory::kWeights, MemoryCategory::kAdapters,
                                          MemoryCategory::kGradients, MemoryCategory::kOptimizer}) {
      const auto i = static_cast<size_t>(category);
      // On a CPU a table in host memory is on the device.
      const bool apart =
          category == MemoryCategory::kWeights && run.layout.embedding == Place::kHost;
      const auto want = static_cast<double>(on_cpu->device.held.of[i]);
      const auto got = static_cast<double>(planned->device.held.of[i]);
      // What NCCL sums early is padded group by group, gradients and with them values.
      if (apart) {
        EXPECT_LE(got, want) << MemoryCategoryName(category);
      } else {
        EXPECT_NEAR(got, want, want / 10) << MemoryCategoryName(category);
      }
    }
    EXPECT_GT(planned->device.peak.total, planned->device.held.total);
  });
}

// One of thirty documents is long: a run's need is of rows as they are.
TEST(Rehearsal, OfARunsOwnRowsIsNoMoreThanTheRunMeasures) {
  Task task = TinyTask({.packing = false});
  const Layout layout{.mesh = {.dp = TestProcess().world_size()}, .micro_batch_rows = 2};
  const auto planned = RehearseOwnRows(task, layout, TinyInputs(task), TestProcess().rank());
  ASSERT_TRUE(planned.ok()) << planned.status();
  const RankMemory trained = Trained(task, layout);
  EXPECT_LE(planned->device.peak.total, trained.device.peak.total);
  EXPECT_GE(planned->device.peak.total, trained.device.peak.total * 9 / 10);
}

// Rows of so many tokens each, in this order.
std::shared_ptr<RowStream> RowsOf(const std::vector<int64_t>& tokens, const Task& task) {
  std::vector<Example> examples;
  for (const int64_t count : tokens) {
    const std::vector<int32_t> ids(static_cast<size_t>(count), 1);
    examples.push_back({ids, ids, "row"});
  }
  auto rows = RowStream::Create(examples, task.rows);
  FT_CHECK(rows.ok(), rows.status().ToString());
  return std::make_shared<RowStream>(*std::move(rows));
}

void ExpectPartIsEnough(const Task& task, const Layout& layout) {
  SCOPED_TRACE(ToString(layout));
  const int64_t all = StepShapeOf(task, layout).accumulation;
  EXPECT_LT(EnoughMicrobatches(task, layout), all);
  JobInputs inputs = TinyInputs(task);
  inputs.rows =
      RowsOf(std::vector<int64_t>(static_cast<size_t>(task.rows_per_step), kSequence), task);
  const int rank = TestProcess().rank();
  const auto whole = RehearseRank(task, layout, inputs, rank);
  const auto part = RehearseFullRows(task, layout, c10::Device(c10::kCPU), rank);
  ASSERT_TRUE(whole.ok() && part.ok()) << whole.status() << part.status();
  EXPECT_EQ(ToString(*part), ToString(*whole));
}

TEST(Rehearsal, OfALongStepNeedNotRunAllOfIt) {
  const int world = TestProcess().world_size(), runs = 2 * world;
  std::vector<Layout> layouts = {
      {.mesh = {.pp = world}},
      {.mesh = {.pp = world}, .micro_batch_rows = 2},
      {.mesh = {.pp = world}, .activations = Place::kHost},
      {.mesh = {.pp = world}, .recompute = Recompute::kFull, .frozen = FrozenPlace::kHost},
      {.mesh = {.dp = world}},
      {.mesh = {.dp = world}, .zero_stage = 2},
      {.mesh = {.dp = world}, .zero_stage = 3}};
  if (world > 1) layouts.push_back({.mesh = {.tp = 2, .dp = world / 2}, .sequence_parallel = true});
  if (world > 1 && runs <= 8) {
    layouts.push_back({.mesh = {.pp = world},
                       .schedule = PipelineKind::kInterleaved,
                       .layers_per_run = std::vector<int>(static_cast<size_t>(runs), 8 / runs)});
  }
  for (const bool experts : {false, true}) {
    Task task = TinyTask({.layers = 8, .experts = experts});
    task.rows_per_step = 48;
    task.router_loss = experts ? 0.1 : 0;
    for (const Layout& layout : layouts) ExpectPartIsEnough(task, layout);
  }
}

// Two long rows that are neighbours, one at the end of a step and one at the beginning of the next.
TEST(Rehearsal, OfARunsOwnRowsHasNoStepWithRowsOfTwo) {
  Task task = TinyTask({.packing = false, .layers = 8});
  task.rows.shuffle = false;
  task.rows_per_step = 8;
  task.steps = 2;
  std::vector<int64_t> tokens(16, 3);
  tokens[7] = tokens[8] = kSequence;
  const Layout layout{.mesh = {.pp = TestProcess().world_size()}};
  JobInputs inputs = TinyInputs(task);
  inputs.rows = RowsOf(tokens, task);
  const auto planned = RehearseOwnRows(task, layout, inputs, TestProcess().rank());
  ASSERT_TRUE(planned.ok()) << planned.status();
  const RankMemory trained = Trained(*BuildTiny(task, layout, inputs));
  EXPECT_LE(planned->device.peak.total, trained.device.peak.total);
  EXPECT_GE(planned->device.peak.total, trained.device.peak.total * 9 / 10);
}

TEST(Rehearsal, ThatCannotBeIsAStatus) {
  const Task task = TinyTask();
  JobInputs inputs = TinyInputs(task);
  const Rehearsal another(c10::Device(c10::kCPU));
  const auto planned = RehearseRank(task, Layout{}, inputs, 0);
  EXPECT_EQ(planned.status().code(), absl::StatusCode::kInternal);
}

}  // namespace
}  // namespace fttrain
