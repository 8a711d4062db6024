// Pipelines of 1 to 8 stages send what they must and keep no more than they need. That they train
// as one rank does is every_layout_test.cc's, that recomputing gives the same bits
// transformer_test.cc's.
#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include "parallel/pipeline/schedule.h"
#include "runtime/memory/ledger.h"
#include "tests/launch/run/tiny_job.h"

namespace fttrain {
namespace {

constexpr auto k1F1B = PipelineKind::kOneForwardOneBackward;
constexpr auto kGPipe = PipelineKind::kGPipe;

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

// Runs a step of 16 such microbatches; memory's peaks are the step's.
std::vector<PipelineStep> RunEqualStep(Job& job, double router_scale = 0) {
  Network& network = *job.network;
  network.transformer->BeginStep(EqualBatches(16, kSequence), std::make_unique<TokenLoss>(1.0),
                                 router_scale);
  ResetMemoryPeaks();
  const PipelineSchedule stages = Trainer(job).Schedule();
  RunSchedule(stages, *network.transformer, *network.links);
  return stages[static_cast<size_t>(network.links->stage())];
}

TEST(PipelineBoundaries, SendEachMicrobatchOnceForwardAndOnceBackward) {
  const int stages = TestProcess().world_size();
  for (const int chunks : {1, 2}) {
    const std::vector<int> runs(static_cast<size_t>(stages * chunks), 2 / chunks);
    const auto job = BuildTiny(TinyTask({.layers = 2 * stages}),
                               {.mesh = {1, stages, 1},
                                .schedule = chunks == 1 ? k1F1B : PipelineKind::kInterleaved,
                                .layers_per_run = runs});
    const StageLinks& links = *job->network->links;
    const int stage = links.stage();
    RunEqualStep(*job);
    // Of the stage's chunks all but the model's last send forward, all but its first backward.
    const int64_t each = 16 * kSequence * TinyShape().hidden_size * 8;
    EXPECT_EQ(links.wire_bytes(Flow::kForward), (chunks - (stage == stages - 1 ? 1 : 0)) * each);
    EXPECT_EQ(links.wire_bytes(Flow::kBackward), (chunks - (stage == 0 ? 1 : 0)) * each);
  }
}

// Two sums of each expert, in whole rows; nothing without the loss.
TEST(PipelineBoundaries, CarryTheSumsOfRoutersWhereTheyHaveALoss) {
  const int stages = TestProcess().world_size();
  const Task task = TinyTask({.layers = 2 * stages, .experts = true});
  const auto job = BuildTiny(task, {.mesh = {1, stages, 1}});
  const StageLinks& links = *job->network->links;
  const int64_t row = task.model.hidden_size * 8, sums = 2 * 4 * 8;
  const auto sent = [&](double router_scale) {
    const int64_t before = links.wire_bytes(Flow::kForward);
    const int64_t backward = links.wire_bytes(Flow::kBackward);
    RunEqualStep(*job, router_scale);
    return std::pair(links.wire_bytes(Flow::kForward) - before,
                     links.wire_bytes(Flow::kBackward) - backward);
  };
  const int64_t first = links.stage() == 0 ? 0 : 1, last = links.stage() == stages - 1 ? 0 : 1;
  const int64_t plain = 16 * kSequence * row, more = 16 * ((sums + row - 1) / row) * row;
  EXPECT_EQ(sent(0), std::pair(last * plain, first * plain));
  EXPECT_EQ(sent(0.1), std::pair(last * (plain + more), first * (plain + more)));
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

// What a stage keeps for backward is what one microbatch keeps, times those in flight: all of them
// in a layer-major step, at the turn.
TEST(PipelineMemory, KeepsWhatTheScheduleHasInFlight) {
  const int world = TestProcess().world_size();
  for (const auto& [kind, stages] :
       {std::pair(k1F1B, world), {kGPipe, world}, {PipelineKind::kLayerMajor, 1}}) {
    Layout layout = {.mesh = {1, stages, 1}};
    const Task task = TinyTask({.layers = 2 * stages});
    const SavedBytes one = OneMicrobatch(*BuildTiny(task, layout));
    layout.schedule = kind;
    if (kind == PipelineKind::kLayerMajor) layout.layers_per_run = {1, 1};
    SCOPED_TRACE(ToString(layout));
    const auto job = BuildTiny(task, layout);
    const int64_t before = MemoryOf(MemoryCategory::kSaved).current_bytes;
    const std::vector<PipelineStep> steps = RunEqualStep(*job);
    const int64_t peak = MemoryOf(MemoryCategory::kSaved).peak_bytes - before;
    const int in_flight = kind == k1F1B ? stages - job->network->links->stage() : 16;
    EXPECT_EQ(MostInFlight(steps), in_flight * (kind == PipelineKind::kLayerMajor ? 2 : 1));
    EXPECT_GE(peak, in_flight * one.kept);
    EXPECT_LE(peak, (in_flight - 1) * one.kept + one.peak);
    EXPECT_EQ(MemoryOf(MemoryCategory::kSaved).current_bytes, before);
  }
}

// With activations on the host a stage's device holds what one layer keeps three times at most:
// just made, leaving and coming back. Besides, what the stage has received and not yet used, and
// what the last keeps for the loss. Alone, a stage's backward of a microbatch follows its forward:
// two sets, and the output of the layer that makes the second.
TEST(PipelineMemory, OnTheHostGrowsWithDepthAndMicrobatchesAndOnTheDeviceDoesNot) {
  const auto in = [](MemoryPlace place) {
    return MemoryOf(MemoryCategory::kSaved, place).current_bytes;
  };
  for (const int stages : {1, TestProcess().world_size()}) {
    for (const Recompute recompute : {Recompute::kNone, Recompute::kSmart, Recompute::kFull}) {
      for (const PipelineKind kind : {k1F1B, kGPipe}) {
        Layout layout = {.mesh = {1, stages, 1}, .schedule = kind, .recompute = recompute};
        layout.activations = Place::kHost;
        SCOPED_TRACE(ToString(layout));
        std::vector<int64_t> peaks;
        for (const int layers : {2, 8}) {
          const Task task = TinyTask({.layers = layers * stages});
          const auto job = BuildTiny(task, layout);
          const bool last = job->network->links->stage() == stages - 1;
          const int64_t device = in(MemoryPlace::kDevice), host = in(MemoryPlace::kHost);
          const int64_t set =
              KeptBytes(task.model.layers[0], ModelOptionsOf(task, job->layout()), 1, kSequence);
          const int64_t row = kSequence * TinyShape().hidden_size * 8;
          const int in_flight = MostInFlight(RunEqualStep(*job));
          peaks.push_back(MemoryOf(MemoryCategory::kSaved).peak_bytes - device);
          EXPECT_EQ(in(MemoryPlace::kHost)-host, in_flight * layers * set);
          EXPECT_EQ(in(MemoryPlace::kDevice), device);
          if (stages == 1 && kind == k1F1B) {
            EXPECT_EQ(peaks.back(), 2 * set + row);
          }
          const int64_t rows = job->network->links->places() + (last ? 2 * in_flight : 2);
          EXPECT_LE(peaks.back(), 3 * set + row * rows);
        }
        EXPECT_EQ(peaks[0], peaks[1]);
      }
    }
  }
}

}  // namespace
}  // namespace fttrain
