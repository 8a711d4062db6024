// Pipelines of 2 to 8 stages, with tensor and data parallelism beside them, train as one rank does
// (what every_layout_test.cc does not have: tied adapters, padding, uneven stages), send what they
// must and keep no more than they need.
#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include "parallel/pipeline/schedules.h"
#include "runtime/memory/ledger.h"
#include "tests/launch/run/training_rig.h"

namespace fttrain {
namespace {

constexpr int kLayers = 8;
constexpr auto k1F1B = PipelineKind::kOneForwardOneBackward;
constexpr auto kInterleaved = PipelineKind::kInterleaved;
constexpr auto kGPipe = PipelineKind::kGPipe;

// Every way to cut the job's ranks that has at least two stages and at most `most` of them.
std::vector<MeshShape> Shapes(int most) {
  std::vector<MeshShape> shapes;
  const int world = TestProcess().world_size();
  for (int pp = 2; pp <= std::min(world, most); pp *= 2) {
    for (int tp = 1; tp <= std::min(2, world / pp); tp *= 2) {
      shapes.push_back({tp, pp, world / (pp * tp)});
    }
  }
  return shapes;
}

class Pipeline : public ::testing::TestWithParam<Task> {};

TEST_P(Pipeline, TrainsAsOneRankDoes) {
  const auto single = Mesh::Single();
  const Outcome want = Train(*single, {}, GetParam());
  for (const MeshShape& shape : Shapes(8)) {
    const auto mesh = CreateMesh(shape);
    for (const int zero_stage : {0, 1}) {
      Layout layout{.tp = shape.tp, .zero_stage = zero_stage};
      SCOPED_TRACE(ToString(shape, layout));
      ExpectEqual(Train(*mesh, layout, GetParam()), want, *mesh);
    }
    if (shape.pp == 8) continue;
    Layout layout{.tp = shape.tp, .micro_batch_size = 2, .pipeline = kInterleaved, .chunks = 2};
    if (16 / (2 * shape.dp) % shape.pp != 0) layout.micro_batch_size = 1;
    SCOPED_TRACE(ToString(shape, layout));
    ExpectEqual(Train(*mesh, layout, GetParam()), want, *mesh);
  }
}

INSTANTIATE_TEST_SUITE_P(Methods, Pipeline,
                         ::testing::Values(Task{.full = true, .layers = kLayers},
                                           Task{.tied = true, .packing = false, .layers = kLayers}),
                         [](const auto& task) {
                           return task.param.full ? "FullPacked" : "LoraTiedPadded";
                         });

TEST_P(Pipeline, RecomputesAndKeepsOnTheHostWithTheSameBits) {
  const int world = TestProcess().world_size();
  const MeshShape shape{world > 2 ? 2 : 1, 2, world > 2 ? world / 4 : 1};
  const auto mesh = CreateMesh(shape);
  for (const PipelineKind kind : {k1F1B, kInterleaved, kGPipe}) {
    Layout layout{
        .tp = shape.tp, .zero_stage = 0, .pipeline = kind, .chunks = kind == kInterleaved ? 2 : 1};
    TrainingRig plain(*mesh, layout, GetParam());
    const auto want = GradientsOfAStep(plain);
    for (const Recompute level : {Recompute::kNone, Recompute::kSmart, Recompute::kFull}) {
      layout.recompute = level;
      layout.activations_on_host = level != Recompute::kFull;
      SCOPED_TRACE(ToString(shape, layout));
      TrainingRig rig(*mesh, layout, GetParam());
      for (const auto& [name, gradient] : GradientsOfAStep(rig)) {
        EXPECT_TRUE(at::equal(gradient, want.at(name))) << name;
      }
    }
  }
}

TEST(PipelineStages, MayBeUneven) {
  const int stages = TestProcess().world_size();
  const auto single = Mesh::Single(), mesh = CreateMesh({1, stages, 1});
  const Task task{.full = true, .tied = true, .layers = 2 * stages + 1};
  std::vector<int> layers(static_cast<size_t>(stages), 1);
  layers[0] = 3;
  layers.back() = 2 * stages + 1 - 3 - (stages - 2);
  const Outcome want = Train(*single, {}, task);
  ExpectEqual(Train(*mesh, {.layers_per_run = layers}, task), want, *mesh);
}

// T rows of every microbatch, so that what is sent and kept is one number.
std::vector<ModelBatch> EqualBatches(int count, int32_t tokens) {
  std::vector<ModelBatch> batches;
  for (int i = 0; i < count; ++i) {
    batches.push_back(MakeModelBatch(std::vector<int32_t>(tokens, 3 + i),
                                     std::vector<int32_t>(tokens, 5), {0, tokens},
                                     std::vector<int64_t>(tokens, 0), 1, 1, at::kCPU));
  }
  return batches;
}

TEST(PipelineBoundaries, SendEachMicrobatchOnceForwardAndOnceBackward) {
  const int stages = TestProcess().world_size();
  const auto mesh = CreateMesh({1, stages, 1});
  const int stage = mesh->position().pp;
  for (const int chunks : {1, 2}) {
    TrainingRig rig(*mesh, {.pipeline = chunks == 1 ? k1F1B : kInterleaved, .chunks = chunks},
                    {.layers = 2 * stages});
    rig.model.BeginStep(EqualBatches(16, kSequence), 1.0);
    RunSchedule(rig.Schedule(), rig.model, *rig.links);
    // Of the stage's chunks all but the model's last send forward, all but its first backward.
    const int64_t each = 16 * kSequence * TinyModel(false).hidden_size * 8;
    EXPECT_EQ(rig.links->wire_bytes(Flow::kForward),
              (chunks - (stage == stages - 1 ? 1 : 0)) * each);
    EXPECT_EQ(rig.links->wire_bytes(Flow::kBackward), (chunks - (stage == 0 ? 1 : 0)) * each);
  }
}

struct SavedBytes {
  int64_t kept = 0;  // between forward and backward
  int64_t peak = 0;  // within them
};
// Of one microbatch on this stage.
SavedBytes OneMicrobatch(TrainingRig& rig) {
  const int64_t before = MemoryOf(MemoryCategory::kSaved).current_bytes;
  const auto boundary = [&](bool there) {
    const MemoryScope scope(MemoryCategory::kSaved);
    return there ? at::ones({kSequence, 32}, at::kDouble) : at::Tensor();
  };
  const int stage = rig.links->stage(), last = rig.links->num_stages() - 1;
  rig.model.BeginStep(EqualBatches(1, kSequence), 1.0);
  rig.model.BeginSchedule(SingleStage(1));
  ResetMemoryPeaks();
  rig.model.Forward(0, 0, boundary(stage > 0));
  const int64_t kept = MemoryOf(MemoryCategory::kSaved).current_bytes - before;
  rig.model.Backward(0, 0, boundary(stage < last));
  return {kept, MemoryOf(MemoryCategory::kSaved).peak_bytes - before};
}

// What a stage keeps for backward is what one microbatch keeps, times those in flight.
TEST(PipelineMemory, KeepsWhatTheScheduleHasInFlight) {
  const int stages = TestProcess().world_size();
  const auto mesh = CreateMesh({1, stages, 1});
  for (const PipelineKind kind : {k1F1B, kGPipe}) {
    TrainingRig rig(*mesh, {.pipeline = kind}, {.layers = 2 * stages});
    const int64_t before = MemoryOf(MemoryCategory::kSaved).current_bytes;
    const SavedBytes one = OneMicrobatch(rig);
    rig.model.BeginStep(EqualBatches(16, kSequence), 1.0);
    ResetMemoryPeaks();
    const auto steps = rig.Schedule();
    RunSchedule(steps, rig.model, *rig.links);
    const int64_t peak = MemoryOf(MemoryCategory::kSaved).peak_bytes - before;
    const int in_flight = kind == kGPipe ? 16 : stages - rig.links->stage();
    EXPECT_EQ(MostInFlight(steps), in_flight);
    EXPECT_GE(peak, in_flight * one.kept);
    EXPECT_LE(peak, (in_flight - 1) * one.kept + one.peak);
    EXPECT_EQ(MemoryOf(MemoryCategory::kSaved).current_bytes, before);
  }
}

// With activations on the host a stage's device holds what one layer keeps three times at most:
// just made, leaving and coming back. Besides, what the stage has received and not yet used, and
// what the last keeps for the loss.
TEST(PipelineMemory, OnTheHostGrowsWithDepthAndMicrobatchesAndOnTheDeviceDoesNot) {
  const int stages = TestProcess().world_size();
  const auto mesh = CreateMesh({1, stages, 1});
  const bool last = mesh->position().pp == stages - 1;
  for (const PipelineKind kind : {k1F1B, kGPipe}) {
    std::vector<int64_t> peaks;
    for (const int layers : {2, 8}) {
      const Layout layout{.pipeline = kind, .activations_on_host = true};
      TrainingRig rig(*mesh, layout, {.layers = layers * stages});
      const auto in = [](MemoryPlace place) {
        return MemoryOf(MemoryCategory::kSaved, place).current_bytes;
      };
      const int64_t device = in(MemoryPlace::kDevice), host = in(MemoryPlace::kHost);
      const ModelOptions options = OptionsOf(layout, {}, stages);
      const int64_t set = KeptBytes(TinyModel(false).layers[0], options, 1, kSequence);
      const int64_t row = kSequence * TinyModel(false).hidden_size * 8;
      rig.model.BeginStep(EqualBatches(16, kSequence), 1.0);
      ResetMemoryPeaks();
      const auto steps = rig.Schedule();
      RunSchedule(steps, rig.model, *rig.links);
      peaks.push_back(MemoryOf(MemoryCategory::kSaved).peak_bytes - device);
      const int in_flight = MostInFlight(steps);
      EXPECT_EQ(in(MemoryPlace::kHost)-host, in_flight * layers * set);
      EXPECT_LE(peaks.back(), 3 * set + row * (rig.links->places() + (last ? 2 * in_flight : 2)));
      EXPECT_EQ(in(MemoryPlace::kDevice), device);
    }
    EXPECT_EQ(peaks[0], peaks[1]);
  }
}

}  // namespace
}  // namespace fttrain
