#include "launch/run/summary.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "model/config/families/llama_shape.h"

namespace fttrain {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

ModelSpec Model(int64_t layers) {
  return LlamaLike({.hidden_size = 64,
                    .intermediate_size = 128,
                    .num_layers = layers,
                    .num_heads = 4,
                    .num_kv_heads = 2,
                    .head_dim = 16,
                    .vocab_size = 1000});
}

TEST(StartSummary, SaysWhereEverythingIsInPeftsWords) {
  NetworkPlan plan;
  plan.model_path = "models/tiny";
  plan.model = Model(4);
  plan.model.family = "llama";
  plan.mesh = {/*tp=*/2, /*pp=*/1, /*dp=*/2};
  plan.options.adapter = {.target_modules = {"q_proj", "v_proj"}};
  plan.options.recompute = Recompute::kSmart;
  plan.options.activations_on_host = true;
  DatasetSummary data;
  data.examples = 60;
  data.tokens = 12345;
  data.targets = 5000;
  data.rows = 60;
  data.truncated = 3;
  data.longest = 400;
  TrainerOptions trainer;
  trainer.steps = 30;
  trainer.shape = {2, 3, 2};
  const std::string text = StartSummary(plan, {460800, 134975808}, data, trainer, 256, 1);
  EXPECT_THAT(
      text,
      HasSubstr("trainable params: 460,800 || all params: 134,975,808 || trainable%: 0.3414"));
  EXPECT_THAT(text,
              HasSubstr("models/tiny: llama, 4 layers, hidden 64, heads 4/2, vocabulary 1000; "));
  EXPECT_THAT(text, HasSubstr("4 ranks = dp 2 x pp 1 x tp 2; zero stage 1; sequence parallel on"));
  EXPECT_THAT(text, HasSubstr("  stage 0 on ranks 0-3: embedding, layers 0-3, head (1/2 of each "
                              "matrix)\n"));
  EXPECT_THAT(text, HasSubstr("12 rows a step = micro batch 2 x accumulation 3 x dp 2; 30 steps"));
  EXPECT_THAT(text, HasSubstr("3 of 60 examples cut to 256 tokens (the longest has 400)"));
  EXPECT_THAT(text, HasSubstr("lora r 16, alpha 32, dropout 0 on q_proj, v_proj"));
  // Layer input and residual: 64 float32 each, split over two ranks.
  EXPECT_THAT(text,
              HasSubstr("recompute smart: a layer keeps 256 bytes of each token, in host memory"));
  EXPECT_THAT(text, Not(HasSubstr("dropped")));
  EXPECT_THAT(text, Not(HasSubstr("nf4")));
  plan.options.recompute = Recompute::kNone;
  plan.options.activations_on_host = false;
  // q 2 heads, k and v 1, attention's output 2, of 16; gate and up 64 each; lse 2; input, residual.
  EXPECT_THAT(StartSummary(plan, {460800, 134975808}, data, trainer, 256, 1),
              HasSubstr("recompute none: a layer keeps 1,160 bytes of each token, on the device"));
}

TEST(StartSummary, SaysHowAnNf4BaseIsStoredAndWhatOfItIsNot) {
  NetworkPlan plan;
  plan.model = Model(1);
  plan.options.compute = at::kBFloat16;
  plan.options.adapter.emplace();
  plan.options.nf4 = Nf4Options{64, true, at::kBFloat16};
  plan.options.embedding_on_host = true;
  ParameterCounts counts{10, 1000};
  counts.nf4_matrices = 14;
  counts.nf4_elements = 1000;
  counts.nf4_bytes = 516;
  counts.dense_frozen = {"model.embed_tokens", "lm_head"};
  const std::string text = StartSummary(plan, counts, {}, {}, 256, 1);
  EXPECT_THAT(text,
              HasSubstr("base       nf4, blocks of 64, 8-bit scales: 14 matrices at 4.128 bits "
                        "a parameter; in bf16: model.embed_tokens (on the host), lm_head"));
}

TEST(StartSummary, SaysWhichLayersAreOnWhichStage) {
  NetworkPlan plan;
  plan.model = Model(8);
  plan.mesh = {/*tp=*/1, /*pp=*/2, /*dp=*/1};
  plan.options.layers_per_run = {2, 2, 3, 1};
  const std::string text = StartSummary(plan, {1, 2}, {}, {}, 256, 1);
  EXPECT_THAT(text, HasSubstr("  stage 0 on rank 0: embedding, layers 0-1, 4-6\n"));
  EXPECT_THAT(text, HasSubstr("  stage 1 on rank 1: layers 2-3, 7, head\n"));
}

TEST(StartSummary, HasALineAStageHoweverManyRanks) {
  NetworkPlan plan;
  plan.model = Model(8);
  plan.options.layers_per_run = {4, 4};
  const auto text = [&](MeshShape mesh) {
    plan.mesh = mesh;
    return StartSummary(plan, {1, 2}, {}, {}, 256, 1);
  };
  EXPECT_THAT(text({/*tp=*/2, /*pp=*/2, /*dp=*/3}),
              HasSubstr("stage 1 on ranks 2-3, 6-7, 10-11: "));
  EXPECT_THAT(text({/*tp=*/1, /*pp=*/2, /*dp=*/4}), HasSubstr("stage 0 on ranks 0, 2, 4, 6: "));
  const std::string large = text({/*tp=*/2, /*pp=*/2, /*dp=*/128});
  EXPECT_THAT(large, HasSubstr("stage 0 on ranks 0-1, 4-5, 8-9 ... 508-509: "));
  EXPECT_THAT(large, HasSubstr("stage 1 on ranks 2-3, 6-7, 10-11 ... 510-511: "));
  EXPECT_LT(std::count(large.begin(), large.end(), '\n'), 10);
}

}  // namespace
}  // namespace fttrain
