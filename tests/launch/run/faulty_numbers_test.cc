// Numbers that are wrong on one rank: steps that are not finite are passed over by all ranks and
// told with their place, replicas that differ are found.
#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <limits>
#include <string>

#include "launch/exit_code.h"
#include "launch/run/not_finite.h"
#include "launch/run/replica_check.h"
#include "tests/launch/run/tiny_job.h"
#include "tests/status_text.h"

namespace fttrain {
namespace {

using ::testing::HasSubstr;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr int32_t kRare = 36;  // a token of one document

// One document a row, one row a microbatch; document 5 alone has the rare token.
std::unique_ptr<Job> BuildRows(const Layout& layout, int64_t max_in_a_row) {
  Task task = TinyTask({.full = true, .packing = false, .layers = 4});
  task.rows.shuffle = false;
  task.rows_per_step = 8;
  task.guard.max_in_a_row = max_in_a_row;
  std::vector<Example> examples = Documents();
  examples.resize(16);
  for (size_t i = 0; i < examples.size(); ++i) {
    examples[i].source = "rows.jsonl:" + std::to_string(i + 1);
    for (int32_t& id : examples[i].input_ids) id = id == kRare ? 0 : id;
    for (int32_t& label : examples[i].labels) label = label == kRare ? 0 : label;
  }
  examples[5].input_ids[1] = kRare;
  JobInputs inputs = TinyInputs(task);
  inputs.rows =
      std::make_shared<RowStream>(RowStream::Create(std::move(examples), task.rows).value());
  return BuildTiny(task, layout, inputs);
}

void Spoil(Job& job, const std::string& name, int64_t row) {
  const absl::Status written =
      job.network->store->Write([&](const std::vector<Parameter*>& parameters) {
        for (Parameter* p : parameters) {
          if (p->slice.name != name) continue;
          const int64_t local = p->slice.dim == 0 ? row - p->slice.offset : row;
          if (local >= 0 && local < p->value.size(0)) p->value[local].fill_(kNan);
        }
        return absl::OkStatus();
      });
  ASSERT_TRUE(written.ok());
}

std::vector<Layout> Layouts() {
  const int world = TestProcess().world_size();
  return {{.mesh = {1, 1, world}},
          {.mesh = {1, 1, world}, .zero_stage = 3},
          {.mesh = {world, 1, 1}, .sequence_parallel = true},
          {.mesh = {1, world, 1}}};
}

TEST(NotFinite, IsPassedOverByAllRanksAndNothingIsUpdated) {
  for (const Layout& layout : Layouts()) {
    const auto job = BuildRows(layout, /*max_in_a_row=*/1);
    Spoil(*job, "model.embed_tokens.weight", kRare);
    const at::Tensor before = job->network->store->buffers()[0].values.clone();
    Trainer trainer(*job);
    const auto first = trainer.Step(0);
    ASSERT_TRUE(first.ok()) << ToString(layout) << first.status();
    EXPECT_EQ(first->skipped, "not finite");
    EXPECT_TRUE(at::allclose(job->network->store->buffers()[0].values, before, 0, 0,
                             /*equal_nan=*/true));
    // The second step's rows do not have the token.
    const auto second = trainer.Step(1);
    ASSERT_TRUE(second.ok()) << second.status();
    EXPECT_EQ(second->skipped, "");
    EXPECT_FALSE(at::allclose(job->network->store->buffers()[0].values, before, 0, 0,
                              /*equal_nan=*/true));
  }
}

TEST(NotFinite, EndsTheRunWithPlaceRankMicrobatchAndRows) {
  for (const Layout& layout : Layouts()) {
    const auto job = BuildRows(layout, /*max_in_a_row=*/0);
    Spoil(*job, "model.embed_tokens.weight", kRare);
    const auto step = Trainer(*job).Step(0);
    EXPECT_THAT(step, IsError(absl::StatusCode::kAborted, "first in the embedding, microbatch "))
        << ToString(layout);
    EXPECT_THAT(ErrorText(step), HasSubstr("(rows.jsonl:6)"));
    const int dp = layout.mesh.dp;
    // Row a * dp + d of a step is microbatch a of replica d.
    EXPECT_THAT(ErrorText(step), HasSubstr("microbatch " + std::to_string(5 / dp) + " of rank " +
                                           std::to_string(5 % dp)));
  }
}

TEST(NotFinite, IsFoundInTheLayerWhereItBegins) {
  for (const Layout& layout : Layouts()) {
    const auto job = BuildRows(layout, /*max_in_a_row=*/0);
    Spoil(*job, "model.layers.2.input_layernorm.weight", 3);
    const auto step = Trainer(*job).Step(0);
    EXPECT_THAT(ErrorText(step), HasSubstr("first in layer 2, microbatch 0 of rank "))
        << ToString(layout);
  }
}

TEST(NotFinite, IsFoundInAGradientWhereAllOutputsAreFinite) {
  const auto job = BuildRows({.mesh = {1, 1, TestProcess().world_size()}}, /*max_in_a_row=*/0);
  struct Poison : StepObserver {
    Job* job = nullptr;
    void OnGradients(int64_t, double) override {
      const Parameter* p = job->network->parameters.Find("model.layers.1.mlp.up_proj.weight");
      p->grad.fill_(kNan);
    }
    void OnUpdated(const StepMetrics&) override {}
  } poison;
  poison.job = job.get();
  job->observers.push_back(&poison);
  EXPECT_THAT(ErrorText(Trainer(*job).Step(0)),
              HasSubstr("all outputs are finite; first in the gradient of "
                        "model.layers.1.mlp.up_proj.weight, rank "));
}

TEST(Replicas, ThatAreTheSameAreFoundSoInEveryLayout) {
  const int world = TestProcess().world_size();
  std::vector<Layout> layouts = Layouts();
  layouts.push_back({.mesh = {1, 1, world}, .zero_stage = 1});
  layouts.push_back({.mesh = {1, 1, world}, .zero_stage = 2, .state = StatePlace::kHost});
  for (const Layout& layout : layouts) {
    const auto job = BuildTiny(TinyTask({.full = true, .tied = true, .layers = 4}), layout);
    Trainer trainer(*job);
    for (int64_t step = 0; step < 2; ++step) ASSERT_TRUE(trainer.Step(step).ok());
    const absl::Status same = CheckReplicas(*job, 2, TestProcess());
    EXPECT_TRUE(same.ok()) << ToString(layout) << same;
  }
}

// Flips the lowest bit of the first word, on the last rank alone.
void FlipABit(const at::Tensor& values) {
  if (TestProcess().rank() + 1 < TestProcess().world_size()) return;
  const at::Tensor words = values.view({-1}).view(at::kInt).narrow(0, 0, 1);
  words.bitwise_xor_(1);
}

TEST(Replicas, ThatDifferInABitAreFoundWithTensorAndRanks) {
  const int world = TestProcess().world_size();
  const auto job = BuildTiny(TinyTask({.full = true}), {.mesh = {1, 1, world}});
  FlipABit(job->network->parameters.Find("model.layers.1.mlp.up_proj.weight")->value);
  const absl::Status differ = CheckReplicas(*job, 7, TestProcess());
  EXPECT_THAT(differ, IsError(absl::StatusCode::kDataLoss, "after step 7 replicas differ in "));
  EXPECT_THAT(ErrorText(differ), HasSubstr("model.layers.1.mlp.up_proj.weight"));
  EXPECT_THAT(ErrorText(differ), HasSubstr("ranks " + std::to_string(world - 1) + " have "));
  EXPECT_EQ(ExitCode(differ), kExitReplicaMismatch);
}

TEST(Replicas, OfOptimizerStateAreCompared) {
  const auto job = BuildTiny(TinyTask(), {.mesh = {1, 1, TestProcess().world_size()}});
  bool flipped = false;
  const absl::Status visited = job->optimizer->VisitState([&](const StatePiece& piece) {
    if (piece.kind == StateKind::kExpAvgSq && !std::exchange(flipped, true)) FlipABit(piece.values);
    return absl::OkStatus();
  });
  ASSERT_TRUE(visited.ok());
  EXPECT_THAT(CheckReplicas(*job, 1, TestProcess()),
              IsError(absl::StatusCode::kDataLoss, "replicas differ in 1 of "));
}

}  // namespace
}  // namespace fttrain
