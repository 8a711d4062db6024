// Gradients, values and frozen weights that are not all on every rank's device: ZeRO 2 and 3 and
// weights in host memory. What is held and sent is what the closed forms say; that they train as
// one rank does is every_layout_test.cc's.
#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include "launch/plan/bytes.h"
#include "parallel/pipeline/schedule.h"
#include "parallel/storage/disk_source.h"
#include "runtime/math/ceil_divide.h"
#include "runtime/memory/ledger.h"
#include "tests/launch/run/tiny_job.h"

namespace fttrain {
namespace {

constexpr int kLayers = 4;
constexpr auto k1F1B = PipelineKind::kOneForwardOneBackward;
constexpr auto kLayerMajor = PipelineKind::kLayerMajor;

Layout InSchedule(PipelineKind kind, int layers, Layout layout) {
  layout.mesh = {1, 1, TestProcess().world_size()};
  layout.schedule = kind;
  if (kind == kLayerMajor) layout.layers_per_run.assign(static_cast<size_t>(layers), 1);
  return layout;
}

class Streamed : public ::testing::TestWithParam<bool> {};  // NF4

int64_t BytesOf(const Parameter& p) {
  return p.packed_bytes > 0
             ? p.packed_bytes
             : p.slice.LocalNumel() * static_cast<int64_t>(c10::elementSize(p.dtype));
}

// A window of frozen weights of a group.
int64_t WindowBytes(const ParameterSet& set, int group) {
  int64_t bytes = 0;
  for (const auto& p : set.all()) {
    if (p->group == group && !p->trainable) bytes += RoundUp(BytesOf(*p), kAlignmentBytes);
  }
  return bytes;
}

int64_t EndBytes(const ParameterSet& set) {
  int64_t bytes = 0;
  for (const auto& p : set.all()) {
    if (p->group < 0) bytes += BytesOf(*p);
  }
  return bytes;
}

TEST_P(Streamed, DeviceHoldsTheEndsAndTwoLayersWhateverTheDepth) {
  for (const auto& [kind, frozen] :
       {std::pair(k1F1B, FrozenPlace::kHost), std::pair(kLayerMajor, FrozenPlace::kHost),
        std::pair(kLayerMajor, FrozenPlace::kDisk),
        std::pair(PipelineKind::kGPipe, FrozenPlace::kDisk)}) {
    for (const int layers : {3, 6}) {
      const int64_t before = MemoryOf(MemoryCategory::kWeights).current_bytes;
      const int64_t host = MemoryOf(MemoryCategory::kWeights, MemoryPlace::kHost).current_bytes;
      const Task task = TinyTask({.layers = layers, .nf4 = GetParam()});
      const Layout layout = InSchedule(kind, layers, {.zero_stage = 1, .frozen = frozen});
      const auto job = BuildTiny(task, layout);
      const ParameterSet& set = job->network->parameters;
      ResetMemoryPeaks();
      SeeGradients(*job, [] {});
      const int64_t window = WindowBytes(set, 0);
      EXPECT_GT(window, 0);
      EXPECT_EQ(MemoryOf(MemoryCategory::kWeights).peak_bytes - before, EndBytes(set) + 2 * window)
          << ToString(layout) << ", " << layers << " layers";
      EXPECT_EQ(MemoryOf(MemoryCategory::kWeights, MemoryPlace::kHost).current_bytes - host,
                frozen == FrozenPlace::kHost ? layers * window : DiskReaderBytes(window));
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Forms, Streamed, ::testing::Bool(),
                         [](const auto& nf4) { return std::string(nf4.param ? "Nf4" : "Dense"); });

std::vector<int> Groups(int layers) {
  std::vector<int> groups = {kEmbeddingGroup, kHeadGroup};
  for (int layer = 0; layer < layers; ++layer) groups.push_back(layer);
  return groups;
}

std::unique_ptr<Job> QloraLayerMajor(int zero_stage) {
  return BuildTiny(TinyTask({.layers = kLayers, .nf4 = true}),
                   InSchedule(kLayerMajor, kLayers, {.zero_stage = zero_stage}));
}

TEST(Zero3, ARankHoldsItsShareOfTheWeightsAndAWindow) {
  const int64_t before = MemoryOf(MemoryCategory::kWeights).current_bytes;
  const auto job = QloraLayerMajor(3);
  const ParameterSet& set = job->network->parameters;
  const int64_t dp = job->layout().mesh.dp;
  const auto window = [&](int group) {
    return RoundUp(WindowBytes(set, group), kAlignmentBytes * dp);
  };
  job->network->store->ForgetWindows();
  int64_t whole = 0;
  for (const int group : Groups(kLayers)) whole += window(group);
  EXPECT_EQ(MemoryOf(MemoryCategory::kWeights).current_bytes - before, whole / dp);
  ResetMemoryPeaks();
  SeeGradients(*job, [] {});
  // The most is at an end: its group, the layer beside it, and the next layer on its way.
  const int64_t most = std::max(window(kEmbeddingGroup), window(kHeadGroup)) + 2 * window(0);
  EXPECT_EQ(MemoryOf(MemoryCategory::kWeights).peak_bytes - before, whole / dp + most);
}

// With all weights trained they are of one category, whose peak is that of their sum.
TEST(Zero3, ThePlanCountsTheWindowsOfTheEndsAsTheStoreAllocatesThem) {
  for (const PipelineKind kind : {k1F1B, kLayerMajor}) {
    for (const bool tied : {false, true}) {
      const int64_t before = MemoryOf(MemoryCategory::kWeights).current_bytes;
      const Task task = TinyTask({.full = true, .tied = tied, .layers = kLayers});
      const Layout layout = InSchedule(kind, kLayers, {.zero_stage = 3});
      const auto job = BuildTiny(task, layout);
      ResetMemoryPeaks();
      SeeGradients(*job, [] {});
      const auto held = static_cast<double>(MemoryOf(MemoryCategory::kWeights).peak_bytes - before);
      const DeviceBytes planned =
          ::fttrain::BytesOf(task, layout, job->network->declared, /*host_is_apart=*/false);
      EXPECT_NEAR(static_cast<double>(planned.values), held, 0.05 * held)
          << ToString(layout) << (tied ? ", tied" : "");
    }
  }
}

TEST(AdapterCopies, TakeInAStepWhatThePlanSaysAndNothingAfterIt) {
  Task task = TinyTask({.layers = kLayers});
  task.form.adapter->dropout = 0;
  std::vector<Layout> layouts = {Layout{.mesh = {2, 1, TestProcess().world_size() / 2}}};
  for (const PipelineKind kind : {k1F1B, PipelineKind::kGPipe, kLayerMajor}) {
    for (const int zero : {0, 1, 2, 3}) {
      for (const FrozenPlace frozen : {FrozenPlace::kDevice, FrozenPlace::kHost}) {
        layouts.push_back(InSchedule(kind, kLayers, {.zero_stage = zero, .frozen = frozen}));
      }
    }
  }
  for (const Layout& layout : layouts) {
    const auto job = BuildTiny(task, layout);
    ParameterStore& store = *job->network->store;
    store.ForgetWindows();
    const auto adapters = [] { return MemoryOf(MemoryCategory::kAdapters); };
    const int64_t before = adapters().current_bytes;
    const bool sharded = store.zero_stage() == 3;  // then windows are still there
    ResetMemoryPeaks();
    SeeGradients(*job, [&] {
      if (!sharded) {
        EXPECT_EQ(adapters().current_bytes, before);
      }
    });
    const int64_t planned =
        ::fttrain::BytesOf(task, layout, job->network->declared, /*host_is_apart=*/false).copies;
    EXPECT_GT(planned, 0);
    const int64_t windows = sharded ? 2 * 8 * store.buffers().front().numel() : 0;
    EXPECT_EQ(adapters().peak_bytes - before, planned + windows) << ToString(layout);
  }
}

TEST(AdapterCopies, OfSomeLayersTakeInAStepWhatThePlanSays) {
  Task task = TinyTask({.layers = kLayers});
  AdapterForm& adapter = *task.form.adapter;
  adapter.dropout = 0;
  adapter.target_modules = {{}, R"(.*\.[023]\.(self_attn\.[qkv]|mlp\.(up|gate))_proj)"};
  adapter.rank_pattern = {{"k_proj", 5}, {R"(3\..*)", 2}};
  const int world = TestProcess().world_size();
  for (const Layout& layout : {Layout{.mesh = {2, 1, world / 2}, .zero_stage = 2},
                               Layout{.mesh = {1, 1, world}, .zero_stage = 1}}) {
    const auto job = BuildTiny(task, layout);
    const int64_t before = MemoryOf(MemoryCategory::kAdapters).current_bytes;
    ResetMemoryPeaks();
    SeeGradients(*job, [] {});
    const DeviceBytes planned =
        ::fttrain::BytesOf(task, layout, job->network->declared, /*host_is_apart=*/false);
    // q, k and v of three layers; gate and up. In float64, stacks alone.
    EXPECT_EQ(planned.copies, 8 * 32 * (2 * (3 + 5 + 3) + (2 + 5 + 2) + 2 * (3 + 3) + (2 + 2)));
    EXPECT_EQ(MemoryOf(MemoryCategory::kAdapters).peak_bytes - before, planned.copies)
        << ToString(layout);
  }
}

// Bytes that one rank sends over dp in a step up to final gradients, but for the trainer's own
// sums: two counts, one loss.
int64_t SentInAStep(Job& job) {
  Communicator& dp = job.network->mesh->dp();
  const int64_t before = dp.traffic().wire_bytes;
  int64_t after = 0;
  SeeGradients(job, [&] { after = dp.traffic().wire_bytes; });
  return after - before - 3 * 8 * 2 * (dp.size() - 1) / dp.size();
}

TEST(Zero3, LayerMajorGathersALayerTwiceAStepAndSendsItsGradientsOnce) {
  const auto job = QloraLayerMajor(3);
  const int64_t dp = job->layout().mesh.dp;
  const int64_t adapters = 8 * job->network->store->buffers().front().numel();  // of a layer
  const auto window = [&](int group) {
    return RoundUp(WindowBytes(job->network->parameters, group), kAlignmentBytes * dp);
  };
  // At the turn the last two layers are still there.
  const int64_t gathered =
      window(kEmbeddingGroup) + window(kHeadGroup) + (2 * kLayers - 2) * (window(0) + adapters);
  EXPECT_EQ(SentInAStep(*job), (gathered + kLayers * adapters) * (dp - 1) / dp);
}

TEST(Zero2, SendsALayersGradientsOnceAMicrobatchUnder1F1BAndOnceAStepLayerMajor) {
  const Task task = TinyTask({.layers = kLayers});
  for (const PipelineKind kind : {k1F1B, kLayerMajor}) {
    const auto job = BuildTiny(task, InSchedule(kind, kLayers, {.zero_stage = 2}));
    const int64_t dp = job->layout().mesh.dp;
    const int64_t adapters = 8 * job->network->store->buffers().front().numel();
    const int64_t times =
        kind == kLayerMajor ? 1 : StepShapeOf(job->task(), job->layout()).accumulation;
    EXPECT_EQ(SentInAStep(*job), times * kLayers * adapters * (dp - 1) / dp);
  }
}

}  // namespace
}  // namespace fttrain
