// Gradients, values and frozen weights that are not all on every rank's device: ZeRO 2 and 3,
// weights in host memory and on disk, optimizer state in host memory. What is computed stays what
// one rank computes (here what every_layout_test.cc does not have: the disk, optimizer state in
// host memory, untied full training); what is held and sent is what the closed forms say.
#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include "parallel/pipeline/schedules.h"
#include "runtime/memory/ledger.h"
#include "tests/launch/run/training_rig.h"

namespace fttrain {
namespace {

constexpr int kLayers = 4;
constexpr auto k1F1B = PipelineKind::kOneForwardOneBackward;
constexpr auto kLayerMajor = PipelineKind::kLayerMajor;

// All of the job's ranks with at least two dp ranks.
std::vector<MeshShape> ShapesWithDp() {
  const int world = TestProcess().world_size();
  std::vector<MeshShape> shapes = {{1, 1, world}};
  if (world >= 4) shapes.push_back({2, 1, world / 2});
  if (world >= 4) shapes.push_back({1, 2, world / 2});
  return shapes;
}

Layout InSchedule(PipelineKind kind, int layers, Layout layout) {
  layout.pipeline = kind;
  if (kind == kLayerMajor) layout.chunks = layers;
  return layout;
}

class Zero : public ::testing::TestWithParam<Task> {};

TEST_P(Zero, TrainsAsOneRankDoes) {
  const auto single = Mesh::Single();
  const Outcome want = Train(*single, {}, GetParam());
  for (const MeshShape& shape : ShapesWithDp()) {
    const auto mesh = CreateMesh(shape);
    for (const int zero_stage : {2, 3}) {
      // Each stage in one of the schedules, the other way round with tensor parallelism.
      const bool layer_major = shape.pp == 1 && (zero_stage == 2) == (shape.tp == 1);
      Layout layout = InSchedule(layer_major ? kLayerMajor : k1F1B, kLayers,
                                 {.tp = shape.tp, .zero_stage = zero_stage});
      if (layer_major) layout.state = StatePlace::kHost;
      if (zero_stage == 3) layout.recompute = layer_major ? Recompute::kSmart : Recompute::kFull;
      layout.activations_on_host = layer_major;
      SCOPED_TRACE(ToString(shape, layout));
      ExpectEqual(Train(*mesh, layout, GetParam()), want, *mesh);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Methods, Zero,
                         ::testing::Values(Task{.full = true, .layers = kLayers},
                                           Task{.layers = kLayers, .nf4 = true}),
                         [](const auto& task) { return task.param.full ? "Full" : "Qlora"; });

class Streamed : public ::testing::TestWithParam<bool> {  // NF4
 protected:
  Task TaskOf(int layers) const { return {.layers = layers, .nf4 = GetParam()}; }
};

TEST_P(Streamed, FrozenWeightsOnDiskTrainAsOneRankDoes) {
  const auto single = Mesh::Single();
  const Outcome want = Train(*single, {}, TaskOf(kLayers));
  const int world = TestProcess().world_size();
  for (const MeshShape& shape :
       {MeshShape{1, 1, world}, MeshShape{2, 1, world / 2}, MeshShape{1, 2, world / 2}}) {
    const auto mesh = CreateMesh(shape);
    for (const PipelineKind kind : {k1F1B, kLayerMajor}) {
      if (shape.pp > 1 && kind == kLayerMajor) continue;
      for (const int zero_stage : {2, 3}) {
        const Layout layout =
            InSchedule(kind, kLayers,
                       {.tp = shape.tp, .zero_stage = zero_stage, .frozen = FrozenPlace::kDisk});
        SCOPED_TRACE(ToString(shape, layout));
        ExpectEqual(Train(*mesh, layout, TaskOf(kLayers)), want, *mesh);
      }
    }
  }
}

int64_t AlignedTo64(int64_t bytes) { return (bytes + 63) / 64 * 64; }

int64_t BytesOf(const Parameter& p) {
  return p.packed_bytes > 0
             ? p.packed_bytes
             : p.slice.LocalNumel() * static_cast<int64_t>(c10::elementSize(p.dtype));
}

// A window of frozen weights of a group.
int64_t WindowBytes(const ParameterSet& set, int group) {
  int64_t bytes = 0;
  for (const auto& p : set.all()) {
    if (p->group == group && !p->trainable) bytes += AlignedTo64(BytesOf(*p));
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
  const auto mesh = CreateMesh({1, 1, TestProcess().world_size()});
  for (const PipelineKind kind : {k1F1B, kLayerMajor, PipelineKind::kGPipe}) {
    for (const int layers : {3, 6}) {
      const int64_t before = MemoryOf(MemoryCategory::kWeights).current_bytes;
      const int64_t host = MemoryOf(MemoryCategory::kWeights, MemoryPlace::kHost).current_bytes;
      TrainingRig rig(*mesh, InSchedule(kind, layers, {.frozen = FrozenPlace::kHost}),
                      TaskOf(layers));
      ResetMemoryPeaks();
      RunStep(rig, 0);
      const int64_t window = WindowBytes(rig.set, 0);
      EXPECT_GT(window, 0);
      EXPECT_EQ(MemoryOf(MemoryCategory::kWeights).peak_bytes - before,
                EndBytes(rig.set) + 2 * window)
          << ToString({}, rig.layout) << ", " << layers << " layers";
      EXPECT_EQ(MemoryOf(MemoryCategory::kWeights, MemoryPlace::kHost).current_bytes - host,
                layers * window);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Forms, Streamed, ::testing::Bool(),
                         [](const auto& nf4) { return std::string(nf4.param ? "Nf4" : "Dense"); });

int64_t Rounded(int64_t bytes, int64_t dp) { return (bytes + 64 * dp - 1) / (64 * dp) * 64 * dp; }

std::vector<int> Groups(int layers) {
  std::vector<int> groups = {kEmbeddingGroup, kHeadGroup};
  for (int layer = 0; layer < layers; ++layer) groups.push_back(layer);
  return groups;
}

TEST(Zero3, ARankHoldsItsShareOfTheWeightsAndAWindow) {
  const auto mesh = CreateMesh({1, 1, TestProcess().world_size()});
  const int64_t dp = mesh->dp().size();
  const int64_t before = MemoryOf(MemoryCategory::kWeights).current_bytes;
  TrainingRig rig(*mesh, InSchedule(kLayerMajor, kLayers, {.zero_stage = 3}),
                  {.layers = kLayers, .nf4 = true});
  rig.store->ForgetWindows();
  int64_t whole = 0;
  for (const int group : Groups(kLayers)) whole += Rounded(WindowBytes(rig.set, group), dp);
  EXPECT_EQ(MemoryOf(MemoryCategory::kWeights).current_bytes - before, whole / dp);
  ResetMemoryPeaks();
  RunStep(rig, 0);
  const auto window = [&](int group) { return Rounded(WindowBytes(rig.set, group), dp); };
  // The most is at an end: its group, the layer beside it, and the next layer on its way.
  const int64_t most = std::max(window(kEmbeddingGroup), window(kHeadGroup)) + 2 * window(0);
  EXPECT_EQ(MemoryOf(MemoryCategory::kWeights).peak_bytes - before, whole / dp + most);
}

// Bytes that one rank sends over dp in a step.
int64_t SentInAStep(TrainingRig& rig) {
  const int64_t before = rig.mesh.dp().traffic().wire_bytes;
  RunStep(rig, 0);
  return rig.mesh.dp().traffic().wire_bytes - before;
}

TEST(Zero3, LayerMajorGathersALayerTwiceAStepAndSendsItsGradientsOnce) {
  const auto mesh = CreateMesh({1, 1, TestProcess().world_size()});
  const int64_t dp = mesh->dp().size();
  TrainingRig rig(*mesh, InSchedule(kLayerMajor, kLayers, {.zero_stage = 3}),
                  {.layers = kLayers, .nf4 = true});
  const int64_t adapters = 8 * rig.store->buffers().front().numel();  // of a layer
  const auto window = [&](int group) { return Rounded(WindowBytes(rig.set, group), dp); };
  // At the turn the last two layers are still there.
  const int64_t gathered =
      window(kEmbeddingGroup) + window(kHeadGroup) + (2 * kLayers - 2) * (window(0) + adapters);
  EXPECT_EQ(SentInAStep(rig), (gathered + kLayers * adapters) * (dp - 1) / dp);
}

TEST(Zero2, SendsALayersGradientsOnceAMicrobatchUnder1F1BAndOnceAStepLayerMajor) {
  const auto mesh = CreateMesh({1, 1, TestProcess().world_size()});
  const int64_t dp = mesh->dp().size();
  for (const PipelineKind kind : {k1F1B, kLayerMajor}) {
    TrainingRig rig(*mesh, InSchedule(kind, kLayers, {.zero_stage = 2}), {.layers = kLayers});
    const int64_t adapters = 8 * rig.store->buffers().front().numel();
    const int64_t times = kind == kLayerMajor ? 1 : rig.Shape().accumulation;
    EXPECT_EQ(SentInAStep(rig), times * kLayers * adapters * (dp - 1) / dp);
  }
}

}  // namespace
}  // namespace fttrain
