// Experts that data-parallel ranks divide: what each holds, that all train as one rank does where
// every_layout_test.cc does not go (four ranks, waits as NCCL's), and what files are made of.
#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include "launch/plan/bytes.h"
#include "launch/run/weights.h"
#include "parallel/storage/param_gather.h"
#include "runtime/memory/ledger.h"
#include "tests/launch/run/tiny_job.h"
#include "tests/runtime/comm/rendezvous.h"

namespace fttrain {
namespace {

int World() { return TestProcess().world_size(); }

// An eps so large that a gradient of nearly zero moves a parameter no more than its size says.
Task TaskOf(const TinyOptions& options) {
  Task task = TinyTask(options);
  task.adamw.eps = 0.01;
  return task;
}

Task FullTask() { return TaskOf({.full = true, .layers = 4, .experts = true}); }

// Adapters on attention and experts.
Task AdaptedTask(bool nf4) {
  Task task = TaskOf({.layers = 4, .nf4 = nf4, .experts = true});
  task.form.adapter->target_parameters = {"mlp.experts.gate_up_proj", "mlp.experts.down_proj"};
  return task;
}

std::vector<Layout> Layouts() {
  std::vector<Layout> layouts;
  for (const int zero : {0, 1, 2, 3}) {
    layouts.push_back({.mesh = {.dp = World(), .ep = World()}, .zero_stage = zero});
  }
  layouts.push_back({.mesh = {.dp = World(), .ep = World()},
                     .zero_stage = 1,
                     .schedule = PipelineKind::kLayerMajor,
                     .layers_per_run = {1, 1, 1, 1},
                     .recompute = Recompute::kSmart,
                     .activations = Place::kHost});
  if (World() < 4) return layouts;
  for (const int zero : {0, 1, 2, 3}) {
    layouts.push_back({.mesh = {.dp = 4, .ep = 2}, .zero_stage = zero});
  }
  layouts.push_back({.mesh = {.tp = 2, .dp = 2, .ep = 2},
                     .sequence_parallel = true,
                     .recompute = Recompute::kFull});
  layouts.push_back({.mesh = {.pp = 2, .dp = 2, .ep = 2}, .zero_stage = 1});
  return layouts;
}

TEST(ExpertParallel, TrainsAsOneRankDoes) {
  for (const Task& task : {FullTask(), AdaptedTask(/*nf4=*/true)}) {
    const Trained want = Train(*BuildTiny(task, Layout{}), 2);
    for (Layout layout : Layouts()) {
      SCOPED_TRACE(ToString(layout));
      const auto job = BuildTiny(task, layout);
      ExpectNear(Train(*job, 2), want, *job->network->mesh);
    }
  }
}

// Over all layers with experts of a microbatch, wherever they and its experts are.
TEST(RouterLoss, TrainsAsOneRankDoes) {
  const int world = World();
  for (Task task : {FullTask(), AdaptedTask(/*nf4=*/true)}) {
    task.router_loss = 0.7;
    const Trained want = Train(*BuildTiny(task, Layout{}), 2);
    ASSERT_TRUE(want.metrics.front().router_loss.has_value());
    std::vector<Layout> layouts = Layouts();
    for (const PipelineKind kind : {PipelineKind::kGPipe, PipelineKind::kOneForwardOneBackward}) {
      layouts.push_back({.mesh = {.pp = world}, .schedule = kind});
    }
    if (world == 2) {
      layouts.push_back({.mesh = {.pp = 2},
                         .schedule = PipelineKind::kInterleaved,
                         .layers_per_run = {1, 1, 1, 1},
                         .recompute = Recompute::kFull,
                         .activations = Place::kHost});
    }
    layouts.push_back({.mesh = {.tp = world}, .recompute = Recompute::kSmart});
    for (const Layout& layout : layouts) {
      SCOPED_TRACE(ToString(layout));
      const auto job = BuildTiny(task, layout);
      ExpectNear(Train(*job, 2), want, *job->network->mesh);
    }
    // It is another step than without.
    task.router_loss = 0;
    const Trained without = Train(*BuildTiny(task, Layout{}), 2);
    EXPECT_FALSE(without.metrics.front().router_loss.has_value());
    EXPECT_EQ(without.metrics.front().loss, want.metrics.front().loss);
    EXPECT_GT(std::abs(without.metrics.front().grad_norm - want.metrics.front().grad_norm),
              1e-3 * want.metrics.front().grad_norm);
  }
}

// Weights that are streamed, where they are frozen.
TEST(ExpertParallel, TrainsFromHostMemoryAndDiskAsOneRankDoes) {
  const Task task = AdaptedTask(/*nf4=*/false);
  const Trained want = Train(*BuildTiny(task, Layout{}), 2);
  for (const FrozenPlace frozen : {FrozenPlace::kHost, FrozenPlace::kDisk}) {
    for (const int zero : {1, 3}) {
      const Layout layout = {.mesh = {.dp = World(), .ep = 2},
                             .zero_stage = zero,
                             .schedule = PipelineKind::kLayerMajor,
                             .layers_per_run = {1, 1, 1, 1},
                             .frozen = frozen};
      SCOPED_TRACE(ToString(layout));
      const auto job = BuildTiny(task, layout);
      ExpectNear(Train(*job, 2), want, *job->network->mesh);
    }
  }
}

// What hangs over NCCL hangs here.
TEST(ExpertParallel, DoesNotHangWhereCommunicationHoldsUpTheDevice) {
  const Task task = FullTask();
  const Trained want = Train(*BuildTiny(task, Layout{}), 2);
  JobInputs inputs = TinyInputs(task);
  inputs.backend = CreateRendezvousCommunicator;
  for (const Layout& layout : Layouts()) {
    if (layout.zero_stage > 2) continue;
    SCOPED_TRACE(ToString(layout));
    const auto job = BuildTiny(task, layout, inputs);
    const LaunchesWait waits(LaunchesWait::For::kEvery, /*seconds=*/30);
    ExpectNear(Train(*job, 2), want, *job->network->mesh);
  }
}

int64_t BytesOfExperts(const ParameterSet& set, bool local) {
  int64_t bytes = 0;
  for (const auto& p : set.all()) {
    if (p->placement.ep != AxisGradient::kOwned) continue;
    const int64_t numel = local ? p->slice.LocalNumel() : p->slice.GlobalNumel();
    bytes += p->packed_bytes > 0 ? p->packed_bytes
                                 : numel * static_cast<int64_t>(c10::elementSize(p->dtype));
  }
  return bytes;
}

TEST(ExpertParallel, ARankHoldsItsShareOfTheExpertsAndNoMore) {
  for (const bool nf4 : {false, true}) {
    const Task task = TinyTask({.nf4 = nf4, .experts = true});
    const auto held = [&](const Layout& layout) {
      const int64_t before = MemoryOf(MemoryCategory::kWeights).current_bytes;
      const auto job = BuildTiny(task, layout);
      const int64_t bytes = MemoryOf(MemoryCategory::kWeights).current_bytes - before;
      EXPECT_EQ(BytesOfExperts(job->network->parameters, /*local=*/true) * layout.mesh.ep,
                BytesOfExperts(job->network->declared, /*local=*/false));
      return bytes;
    };
    const Layout whole = {.mesh = {.dp = World()}},
                 divided = {.mesh = {.dp = World(), .ep = World()}};
    const int64_t experts = BytesOfExperts(Declare(task), /*local=*/false);
    EXPECT_GT(experts, 0);
    EXPECT_EQ(held(whole) - held(divided), experts - experts / World());
    EXPECT_EQ(BytesOf(task, whole, Declare(task), false).values -
                  BytesOf(task, divided, Declare(task), false).values,
              experts - experts / World());
  }
}

TEST(ExpertParallel, WhatIsWrittenIsGatheredFromThoseWhoHaveIt) {
  for (const Task& task : {FullTask(), AdaptedTask(/*nf4=*/false)}) {
    const auto alone = BuildTiny(task, Layout{});
    for (const Layout& layout : Layouts()) {
      SCOPED_TRACE(ToString(layout));
      const auto job = BuildTiny(task, layout);
      const Network& network = *job->network;
      std::vector<std::string> names;
      for (const Parameter* p : network.declared.Trainable()) names.push_back(p->slice.name);
      const std::vector<Holders> holders =
          HoldersOf(names, network.parameters, *network.mesh, network.device);
      for (size_t i = 0; i < names.size(); ++i) {
        const at::Tensor got = GatherOnFirstRank(*network.declared.Get(names[i]), holders[i],
                                                 network.parameters, *network.store);
        if (TestProcess().rank() > 0) continue;
        EXPECT_TRUE(at::equal(got, alone->network->parameters.Get(names[i])->value)) << names[i];
      }
    }
  }
}

}  // namespace
}  // namespace fttrain
