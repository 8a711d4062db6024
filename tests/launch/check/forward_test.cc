#include "launch/check/forward.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "launch/run/replica_check.h"
#include "runtime/memory/ledger.h"
#include "tests/launch/run/tiny_job.h"

namespace fttrain {
namespace {

constexpr int kLayers = 4;

Task TaskOfFourLayers() {
  TinyOptions options;
  options.layers = kLayers;
  return TinyTask(options);
}

// Of this many ranks.
std::vector<Layout> Layouts(int ranks) {
  std::vector<Layout> layouts;
  const auto add = [&](MeshShape mesh) -> Layout& {
    layouts.push_back({.mesh = mesh});
    return layouts.back();
  };
  add({.dp = ranks}).zero_stage = ranks > 1 ? 3 : 0;
  Layout& layer_major = add({.dp = ranks});
  layer_major.schedule = PipelineKind::kLayerMajor;
  layer_major.layers_per_run = std::vector<int>(kLayers, 1);
  if (ranks % 2 != 0) return layouts;
  add({.tp = 2, .dp = ranks / 2}).sequence_parallel = true;
  add({.pp = 2, .dp = ranks / 2}).recompute = Recompute::kFull;
  Layout& interleaved = add({.pp = 2, .dp = ranks / 2});
  interleaved.schedule = PipelineKind::kInterleaved;
  interleaved.layers_per_run = std::vector<int>(kLayers, 1);
  return layouts;
}

std::vector<int32_t> Ids() { return {1, 5, 9, 2, 7, 7, 3}; }

TEST(Forward, LossAndLogitsAreThoseOfOneRankInEveryLayout) {
  const Task task = TaskOfFourLayers();
  const auto alone = BuildTiny(task, Layout{});
  const double loss = LossOfStep(*alone, 1);
  const at::Tensor logits = LogitsOf(*alone, Ids());
  for (const Layout& layout : Layouts(TestProcess().world_size())) {
    const auto job = BuildTiny(task, layout);
    EXPECT_NEAR(LossOfStep(*job, 1), loss, 1e-10 * loss) << ToString(layout);
    const at::Tensor got = LogitsOf(*job, Ids());
    const bool last = job->network->links->stage() == job->network->links->num_stages() - 1;
    EXPECT_EQ(got.defined(), last) << ToString(layout);
    if (!last) continue;
    EXPECT_LE((got - logits).abs().max().item<double>(), 1e-5) << ToString(layout);
  }
}

TEST(Forward, LeavesNothingBehind) {
  const Task task = TaskOfFourLayers();
  for (const Layout& layout : Layouts(TestProcess().world_size())) {
    const auto untouched = BuildTiny(task, layout), job = BuildTiny(task, layout);
    Trainer reference(*untouched), trainer(*job);
    ASSERT_TRUE(reference.Step(0).ok());
    ASSERT_TRUE(trainer.Step(0).ok());
    LossOfStep(*job, 3);
    const int64_t held = TotalMemory().current_bytes;
    LossOfStep(*job, 2);
    LogitsOf(*job, Ids());
    EXPECT_EQ(TotalMemory().current_bytes, held) << ToString(layout);
    EXPECT_EQ(reference.Step(1)->loss, trainer.Step(1)->loss) << ToString(layout);
    EXPECT_EQ(SumsOf(*untouched), SumsOf(*job)) << ToString(layout);
  }
}

}  // namespace
}  // namespace fttrain
