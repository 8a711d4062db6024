#include "launch/verify/reference_layout.h"

#include <gmock/gmock.h>

#include "launch/plan/settings.h"
#include "model/config/families/llama_shape.h"

namespace fttrain {
namespace {

using ::testing::HasSubstr;

// Four layers in float32 on the CPU, two data-parallel replicas of two stages, with what saves
// memory. All weights are trained: 16 bytes of each with gradient and moments.
class Reference : public ::testing::Test {
 protected:
  Reference() {
    LlamaShape m;
    m.hidden_size = 32;
    m.intermediate_size = 48;
    m.num_layers = 4;
    m.num_heads = 8;
    m.num_kv_heads = 2;
    m.head_dim = 4;
    m.vocab_size = 64;
    m.max_position_embeddings = 64;
    plan_.network.model = LlamaLike(m);
    plan_.network.options.compute = at::kFloat;
    plan_.network.options.train_base = true;
    plan_.network.mesh = {.tp = 1, .pp = 2, .dp = 2};
    config::RunConfig& run = plan_.run;
    run.mutable_adapter()->set_method(config::ADAPTER_METHOD_NONE);
    run.mutable_precision()->set_compute(config::COMPUTE_TYPE_FP32);
    run.mutable_data()->set_sequence_len(16);
    run.mutable_train()->set_micro_batch_size(2);
    run.mutable_train()->set_gradient_accumulation_steps(3);
    run.mutable_parallel()->set_tensor(1);
    run.mutable_parallel()->set_pipeline(2);
    run.mutable_parallel()->set_chunks_per_stage(2);
    run.mutable_parallel()->set_zero_stage(2);
    run.mutable_parallel()->set_pipeline_schedule(config::PIPELINE_SCHEDULE_INTERLEAVED);
    run.mutable_memory()->set_recompute(config::RECOMPUTE_FULL);
    run.mutable_memory()->set_base_weights(config::WEIGHT_PLACE_DEVICE);
    declared_ = DeclareWholeModel(plan_.network.model, plan_.network.options);
  }

  int64_t BytesIn(const ReferenceLayout& layout) {
    const config::RunConfig run = plan_.run;
    const MeshShape mesh = plan_.network.mesh;
    const absl::Status applied = ApplyReference(plan_, layout);
    EXPECT_TRUE(applied.ok()) << applied;
    const int64_t bytes = HeldBytes(plan_, declared_);
    plan_.run = run;
    plan_.network.mesh = mesh;
    return bytes;
  }
  absl::StatusOr<ReferenceLayout> Choose(int64_t free_bytes, bool shared,
                                         std::optional<ReferenceLayout> asked = {}) {
    return ChooseReference(plan_, declared_, free_bytes, shared, /*ranks=*/4, asked);
  }

  TrainPlan plan_;
  ParameterSet declared_;
};

TEST_F(Reference, HasTheRowsOfAStepThatTheRunHas) {
  const int64_t rows = StepShapeOf(plan_.run, 2).rows_per_step();
  ASSERT_TRUE(ApplyReference(plan_, {}).ok());
  EXPECT_EQ(plan_.trainer.shape.rows_per_step(), rows);
  EXPECT_EQ(plan_.trainer.shape.micro_batch_size, 2);
  EXPECT_EQ(plan_.trainer.pipeline, PipelineKind::kOneForwardOneBackward);
  EXPECT_EQ(plan_.network.options.recompute, Recompute::kNone);
  EXPECT_EQ(plan_.run.parallel().zero_stage(), 0);
}

TEST_F(Reference, DoesNotShareWhatOfTheRunIsLayoutAlone) {
  ModelOptions& options = plan_.network.options;
  plan_.run.mutable_memory()->set_embedding(config::EMBEDDING_PLACE_HOST);
  plan_.run.mutable_parallel()->set_sequence_parallel(true);
  options.embedding_on_host = options.sequence_parallel = true;
  ASSERT_TRUE(ApplyReference(plan_, {2, 1}).ok());
  EXPECT_FALSE(options.embedding_on_host);
  EXPECT_FALSE(options.sequence_parallel);
}

TEST_F(Reference, IsOneRankWhereThatFits) {
  const auto layout = Choose(BytesIn({}), /*shared=*/true);
  ASSERT_TRUE(layout.ok()) << layout.status();
  EXPECT_EQ(ToString(*layout), "one rank");
  EXPECT_EQ(plan_.network.mesh.world_size(), 1);
}

TEST_F(Reference, KeepsTheRunsMemorySettingsBeforeItTakesMoreRanks) {
  const auto layout = Choose(BytesIn({}) - 1, /*shared=*/true);
  ASSERT_TRUE(layout.ok()) << layout.status();
  EXPECT_EQ(ToString(*layout), "one rank with the run's memory settings");
  EXPECT_EQ(plan_.network.options.recompute, Recompute::kFull);
}

TEST_F(Reference, TakesTheFewestRanksWhoseDevicesHoldIt) {
  const auto layout = Choose(BytesIn({1, 1, true}) - 1, /*shared=*/false);
  ASSERT_TRUE(layout.ok()) << layout.status();
  EXPECT_EQ(layout->tp * layout->pp, 2);
  EXPECT_EQ(plan_.network.mesh.world_size(), 2);
}

TEST_F(Reference, IsRefusedWithTheArithmeticWhereNothingFits) {
  const auto layout = Choose(1000, /*shared=*/false);
  EXPECT_EQ(layout.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(layout.status().message()), HasSubstr("no layout of at most 4 ranks"));
}

TEST_F(Reference, IsTheOneAskedForWhetherItFitsOrNot) {
  const auto layout = Choose(1000, /*shared=*/false, ReferenceLayout{2, 1, false});
  ASSERT_TRUE(layout.ok()) << layout.status();
  EXPECT_EQ(ToString(*layout), "tp 2 x pp 1 with the run's memory settings");
}

TEST_F(Reference, CountsAtLeastEveryTensorThatARankHolds) {
  int64_t weights = 0;
  for (const auto& parameter : declared_.all()) weights += parameter->slice.GlobalNumel();
  EXPECT_GT(BytesIn({}), 16 * weights);
  EXPECT_LT(BytesIn({2, 1}), BytesIn({}) * 2 / 3);
  EXPECT_LT(BytesIn({1, 2}), BytesIn({}));
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
