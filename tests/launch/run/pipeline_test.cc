// Pipelines of 2 to 8 stages send what they must and keep no more than they need; uneven stages
// train as one rank does, and recomputing gives the same bits. The rest is every_layout_test.cc's.
#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include "parallel/pipeline/schedules.h"
#include "runtime/memory/ledger.h"
#include "tests/launch/run/tiny_job.h"

namespace fttrain {
namespace {

constexpr int kLayers = 8;
constexpr auto k1F1B = PipelineKind::kOneForwardOneBackward;
constexpr auto kInterleaved = PipelineKind::kInterleaved;
constexpr auto kGPipe = PipelineKind::kGPipe;

// `chunks` runs a stage of equally many layers.
Layout Chunked(const MeshShape& mesh, PipelineKind kind, int chunks, int layers) {
  const int runs = mesh.pp * chunks;
  return {.mesh = mesh,
          .sequence_parallel = true,
          .schedule = kind,
          .layers_per_run = std::vector<int>(static_cast<size_t>(runs), layers / runs)};
}

class Pipeline : public ::testing::TestWithParam<TinyOptions> {};

INSTANTIATE_TEST_SUITE_P(
    Methods, Pipeline,
    ::testing::Values(TinyOptions{.full = true, .layers = kLayers},
                      TinyOptions{.tied = true, .packing = false, .layers = kLayers}),
    [](const auto& task) { return task.param.full ? "FullPacked" : "LoraTiedPadded"; });

TEST_P(Pipeline, RecomputesAndKeepsOnTheHostWithTheSameBits) {
  const int world = TestProcess().world_size();
  const MeshShape shape{world > 2 ? 2 : 1, 2, world > 2 ? world / 4 : 1};
  const Task task = TinyTask(GetParam());
  for (const PipelineKind kind : {k1F1B, kInterleaved, kGPipe}) {
    Layout layout = Chunked(shape, kind, kind == kInterleaved ? 2 : 1, kLayers);
    const Trained want = Train(*BuildTiny(task, layout), 1);
    for (const Recompute level : {Recompute::kNone, Recompute::kSmart, Recompute::kFull}) {
      layout.recompute = level;
      layout.activations = level != Recompute::kFull ? Place::kHost : Place::kDevice;
      SCOPED_TRACE(ToString(layout));
      const Trained got = Train(*BuildTiny(task, layout), 1);
      for (const auto& [name, gradient] : got.gradients[0]) {
        EXPECT_TRUE(at::equal(gradient, want.gradients[0].at(name))) << name;
      }
    }
  }
}

TEST(PipelineStages, MayBeUneven) {
  const int stages = TestProcess().world_size();
  const Task task = TinyTask({.full = true, .tied = true, .layers = 2 * stages + 1});
  std::vector<int> layers(static_cast<size_t>(stages), 1);
  layers[0] = 3;
  layers.back() = 2 * stages + 1 - 3 - (stages - 2);
  const Trained want = Train(*BuildTiny(task, Layout{}), kSteps);
  const auto job = BuildTiny(task, {.mesh = {1, stages, 1}, .layers_per_run = layers});
  ExpectNear(Train(*job, kSteps), want, *job->network->mesh, {.gradients = 1e-7, .numbers = 1e-9});
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
  const MeshShape mesh{1, stages, 1};
  for (const int chunks : {1, 2}) {
    const auto job =
        BuildTiny(TinyTask({.layers = 2 * stages}),
                  Chunked(mesh, chunks == 1 ? k1F1B : kInterleaved, chunks, 2 * stages));
    StageLinks& links = *job->network->links;
    const int stage = links.stage();
    job->network->transformer->BeginStep(EqualBatches(16, kSequence),
                                         std::make_unique<TokenLoss>(1.0));
    RunSchedule(Trainer(*job).Schedule(), *job->network->transformer, links);
    // Of the stage's chunks all but the model's last send forward, all but its first backward.
    const int64_t each = 16 * kSequence * TinyShape().hidden_size * 8;
    EXPECT_EQ(links.wire_bytes(Flow::kForward), (chunks - (stage == stages - 1 ? 1 : 0)) * each);
    EXPECT_EQ(links.wire_bytes(Flow::kBackward), (chunks - (stage == 0 ? 1 : 0)) * each);
  }
}

struct SavedBytes {
  int64_t kept = 0;  // between forward and backward
  int64_t peak = 0;  // within them
};
// Of one microbatch on this stage.
SavedBytes OneMicrobatch(Job& job) {
  Transformer& model = *job.network->transformer;
  const StageLinks& links = *job.network->links;
  const int64_t before = MemoryOf(MemoryCategory::kSaved).current_bytes;
  const auto boundary = [&](bool there) {
    const MemoryScope scope(MemoryCategory::kSaved);
    return there ? at::ones({kSequence, 32}, at::kDouble) : at::Tensor();
  };
  const int stage = links.stage(), last = links.num_stages() - 1;
  model.BeginStep(EqualBatches(1, kSequence), std::make_unique<TokenLoss>(1.0));
  model.BeginSchedule(OneForwardOneBackward(0, 1, 1));
  ResetMemoryPeaks();
  model.Forward(0, 0, boundary(stage > 0));
  const int64_t kept = MemoryOf(MemoryCategory::kSaved).current_bytes - before;
  model.Backward(0, 0, boundary(stage < last));
  return {kept, MemoryOf(MemoryCategory::kSaved).peak_bytes - before};
}

// What a stage keeps for backward is what one microbatch keeps, times those in flight.
TEST(PipelineMemory, KeepsWhatTheScheduleHasInFlight) {
  const int stages = TestProcess().world_size();
  for (const PipelineKind kind : {k1F1B, kGPipe}) {
    const auto job =
        BuildTiny(TinyTask({.layers = 2 * stages}), {.mesh = {1, stages, 1}, .schedule = kind});
    StageLinks& links = *job->network->links;
    const int64_t before = MemoryOf(MemoryCategory::kSaved).current_bytes;
    const SavedBytes one = OneMicrobatch(*job);
    job->network->transformer->BeginStep(EqualBatches(16, kSequence),
                                         std::make_unique<TokenLoss>(1.0));
    ResetMemoryPeaks();
    const auto steps = Trainer(*job).Schedule();
    RunSchedule(steps, *job->network->transformer, links);
    const int64_t peak = MemoryOf(MemoryCategory::kSaved).peak_bytes - before;
    const int in_flight = kind == kGPipe ? 16 : stages - links.stage();
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
  for (const PipelineKind kind : {k1F1B, kGPipe}) {
    std::vector<int64_t> peaks;
    for (const int layers : {2, 8}) {
      const Task task = TinyTask({.layers = layers * stages});
      const auto job =
          BuildTiny(task, {.mesh = {1, stages, 1}, .schedule = kind, .activations = Place::kHost});
      StageLinks& links = *job->network->links;
      const bool last = links.stage() == stages - 1;
      const auto in = [](MemoryPlace place) {
        return MemoryOf(MemoryCategory::kSaved, place).current_bytes;
      };
      const int64_t device = in(MemoryPlace::kDevice), host = in(MemoryPlace::kHost);
      const int64_t set =
          KeptBytes(task.model.layers[0], ModelOptionsOf(task, job->layout()), 1, kSequence);
      const int64_t row = kSequence * TinyShape().hidden_size * 8;
      job->network->transformer->BeginStep(EqualBatches(16, kSequence),
                                           std::make_unique<TokenLoss>(1.0));
      ResetMemoryPeaks();
      const auto steps = Trainer(*job).Schedule();
      RunSchedule(steps, *job->network->transformer, links);
      peaks.push_back(MemoryOf(MemoryCategory::kSaved).peak_bytes - device);
      const int in_flight = MostInFlight(steps);
      EXPECT_EQ(in(MemoryPlace::kHost)-host, in_flight * layers * set);
      EXPECT_LE(peaks.back(), 3 * set + row * (links.places() + (last ? 2 * in_flight : 2)));
      EXPECT_EQ(in(MemoryPlace::kDevice), device);
    }
    EXPECT_EQ(peaks[0], peaks[1]);
  }
}

}  // namespace
}  // namespace fttrain
