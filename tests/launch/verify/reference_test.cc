#include "launch/verify/reference.h"

#include <gmock/gmock.h>

#include "launch/plan/bytes.h"
#include "model/config/families/llama_shape.h"
#include "model/kernels/attention.h"
#include "parallel/storage/disk_source.h"
#include "runtime/math/ceil_divide.h"

namespace fttrain {
namespace {

using ::testing::HasSubstr;

// Four layers in float32 on the CPU, two data-parallel replicas of two stages, with what saves
// memory. All weights are trained: 16 bytes of each with gradient and moments.
class ReferenceChoice : public ::testing::Test {
 protected:
  static ModelSpec Model(int64_t head_dim) {
    LlamaShape m;
    m.hidden_size = 32;
    m.intermediate_size = 48;
    m.num_layers = 4;
    m.num_heads = 8;
    m.num_kv_heads = 2;
    m.head_dim = head_dim;
    m.vocab_size = 64;
    m.max_position_embeddings = 64;
    return LlamaLike(m);
  }
  ReferenceChoice() {
    task_.model = Model(/*head_dim=*/4);
    task_.form.train_base = true;
    task_.rows.sequence_len = 16;
    task_.rows_per_step = 12;
    run_ = {.mesh = {.tp = 1, .pp = 2, .dp = 2},
            .device = DeviceKind::kCpu,
            .micro_batch_rows = 2,
            .zero_stage = 2,
            .schedule = PipelineKind::kInterleaved,
            .layers_per_run = {1, 1, 1, 1},
            .recompute = Recompute::kFull};
    declared_ = Declare(task_);
  }

  int64_t BytesIn(int tp, int pp, bool keeps_memory = false) {
    return BytesOf(task_, ReferenceOf(run_, tp, pp, keeps_memory).layout, declared_, false).total();
  }
  absl::StatusOr<Reference> Choose(int64_t free_bytes, bool shared,
                                   std::optional<MeshShape> asked = {}) {
    return ChooseReference(task_, run_, declared_, {free_bytes, shared, false, /*ranks=*/4}, asked);
  }

  Task task_;
  Layout run_;
  ParameterSet declared_;
};

TEST_F(ReferenceChoice, SharesNothingOfTheRunsLayoutButItsDevice) {
  Layout run = run_;
  run.sequence_parallel = true;
  run.activations = run.embedding = Place::kHost;
  run.frozen = FrozenPlace::kDisk;
  run.state = StatePlace::kHost;
  const Layout reference = ReferenceOf(run, 2, 1, /*keeps_memory=*/false).layout;
  EXPECT_EQ(reference.device, DeviceKind::kCpu);
  EXPECT_EQ(reference.mesh.tp, 2);
  EXPECT_EQ(reference.mesh.dp, 1);
  EXPECT_EQ(reference.micro_batch_rows, 1);
  EXPECT_FALSE(reference.sequence_parallel);
  EXPECT_EQ(reference.zero_stage, 0);
  EXPECT_EQ(reference.schedule, PipelineKind::kOneForwardOneBackward);
  EXPECT_TRUE(reference.layers_per_run.empty());
  EXPECT_EQ(reference.recompute, Recompute::kNone);
  EXPECT_EQ(reference.activations, Place::kDevice);
  EXPECT_EQ(reference.embedding, Place::kDevice);
  EXPECT_EQ(reference.frozen, FrozenPlace::kDevice);
  EXPECT_EQ(reference.state, StatePlace::kDevice);
}

TEST_F(ReferenceChoice, IsOneRankWhereThatFits) {
  const auto reference = Choose(BytesIn(1, 1), /*shared=*/true);
  ASSERT_TRUE(reference.ok()) << reference.status();
  EXPECT_EQ(ToString(*reference), "one rank");
  EXPECT_EQ(reference->layout.mesh.world_size(), 1);
}

TEST_F(ReferenceChoice, KeepsTheRunsMemorySettingsBeforeItTakesMoreRanks) {
  const auto reference = Choose(BytesIn(1, 1) - 1, /*shared=*/true);
  ASSERT_TRUE(reference.ok()) << reference.status();
  EXPECT_EQ(ToString(*reference), "one rank with the run's memory settings");
  EXPECT_EQ(reference->layout.recompute, Recompute::kFull);
}

TEST_F(ReferenceChoice, TakesTheFewestRanksWhoseDevicesHoldIt) {
  const auto reference = Choose(BytesIn(1, 1, /*keeps_memory=*/true) - 1, /*shared=*/false);
  ASSERT_TRUE(reference.ok()) << reference.status();
  EXPECT_EQ(reference->layout.mesh.world_size(), 2);
}

TEST_F(ReferenceChoice, IsRefusedWithTheArithmeticWhereNothingFits) {
  const auto reference = Choose(1000, /*shared=*/false);
  EXPECT_EQ(reference.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(reference.status().message()), HasSubstr("no layout of at most 4 ranks"));
}

TEST_F(ReferenceChoice, IsTheOneAskedForWhetherItFitsOrNot) {
  const auto reference = Choose(1000, /*shared=*/false, MeshShape{.tp = 2});
  ASSERT_TRUE(reference.ok()) << reference.status();
  EXPECT_EQ(ToString(*reference), "tp 2 x pp 1 with the run's memory settings");
}

TEST_F(ReferenceChoice, CountsAtLeastEveryTensorThatARankHolds) {
  int64_t weights = 0;
  for (const auto& parameter : declared_.all()) weights += parameter->slice.GlobalNumel();
  EXPECT_GT(BytesIn(1, 1), 16 * weights);
  EXPECT_LT(BytesIn(2, 1), BytesIn(1, 1) * 2 / 3);
  EXPECT_LT(BytesIn(1, 2), BytesIn(1, 1));
}

// Where the device's memory is the host's too.
TEST_F(ReferenceChoice, CountsTheBuffersThroughWhichWeightsComeFromTheDisk) {
  task_.rows_per_step = 16;  // four microbatches
  task_.form.train_base = false;
  declared_ = Declare(task_);
  const auto values = [&](FrozenPlace frozen, bool host_is_apart) {
    Layout layout = run_;
    layout.frozen = frozen;
    return BytesOf(task_, layout, declared_, host_is_apart).values;
  };
  int64_t layer = 0;
  for (const auto& parameter : declared_.all()) {
    if (parameter->group != 0) continue;
    layer += RoundUp(
        parameter->slice.GlobalNumel() * static_cast<int64_t>(c10::elementSize(parameter->dtype)),
        kAlignmentBytes);
  }
  EXPECT_EQ(values(FrozenPlace::kDisk, true), values(FrozenPlace::kHost, true));
  EXPECT_EQ(values(FrozenPlace::kDisk, false),
            values(FrozenPlace::kHost, false) + DiskReaderBytes(layer));
}

TEST_F(ReferenceChoice, CountsWhatTheScheduleHasInFlight) {
  task_.rows_per_step = 16;  // four microbatches
  const auto kept = [&](PipelineKind kind, std::vector<int> layers_per_run) {
    Layout layout = run_;
    layout.schedule = kind;
    layout.layers_per_run = std::move(layers_per_run);
    return BytesOf(task_, layout, declared_, false).kept;
  };
  const int64_t of_a_layer = kept(PipelineKind::kGPipe, {2, 2}) / 8;
  EXPECT_EQ(kept(PipelineKind::kOneForwardOneBackward, {2, 2}), 4 * of_a_layer);
  EXPECT_EQ(kept(PipelineKind::kInterleaved, {1, 1, 1, 1}), 5 * of_a_layer);
}

TEST_F(ReferenceChoice, CountsWhatAttentionTakesInWorkOnAGpu) {
  task_.model = Model(/*head_dim=*/8);
  task_.form.compute = at::kBFloat16;
  task_.row_documents = 5;
  task_.rows.sequence_len = 15;
  const auto attention = [&](const Layout& layout, bool gpu = true) {
    return BytesOf(task_, layout, declared_, gpu).attention;
  };
  AttentionShape shape{.tokens = 30,
                       .documents = 10,
                       .longest = 15,
                       .heads = 8,
                       .kv_heads = 2,
                       .head_dim = 8,
                       .type = at::kBFloat16};
  const auto workspace = [&] { return CudaAttentionWorkspace(shape, false); };
  const Layout two_rows = {.micro_batch_rows = 2};
  EXPECT_EQ(attention(two_rows), workspace());
  EXPECT_EQ(attention(two_rows, /*gpu=*/false), 0);
  const DeviceBytes bytes = BytesOf(task_, two_rows, declared_, /*host_is_apart=*/true);
  EXPECT_GT(bytes.total(), bytes.values + bytes.training + bytes.kept + workspace());
  // One token more, a document of its own.
  shape.tokens = 16;
  shape.documents = 6;
  shape.heads = 4;
  shape.kv_heads = 1;
  EXPECT_EQ(attention({.mesh = {.tp = 2}}), workspace());
  task_.deterministic = true;
  shape.documents = 2;
  EXPECT_EQ(attention({.mesh = {.tp = 2}}), CudaAttentionWorkspace(shape, true));
}

TEST_F(ReferenceChoice, HasTheRunsMicrobatchesWhereRoutersHaveALossOfEach) {
  const int64_t all = std::numeric_limits<int64_t>::max();
  EXPECT_EQ(Choose(all, false)->layout.micro_batch_rows, 1);
  task_.router_loss = 0.1;
  EXPECT_EQ(Choose(all, false)->layout.micro_batch_rows, 2);
}

TEST(ParseReference, TakesSizesThatTheJobHas) {
  EXPECT_EQ(ParseReference("tp=2,pp=1", 4)->tp, 2);
  EXPECT_EQ(ParseReference("pp=3", 4)->pp, 3);
  for (const char* text : {"tp=2,pp=4", "tp", "tp=0", "dp=2", "tp=x", ""}) {
    EXPECT_EQ(ParseReference(text, 4).status().code(), absl::StatusCode::kInvalidArgument) << text;
  }
}

}  // namespace
}  // namespace fttrain
