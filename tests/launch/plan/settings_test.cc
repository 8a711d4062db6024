#include "launch/plan/settings.h"

#include <gmock/gmock.h>

#include "model/config/families/llama_shape.h"

namespace fttrain {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// The head costs about as much as a layer.
ModelSpec FiveLayers() {
  LlamaShape model;
  model.hidden_size = 8;
  model.intermediate_size = 8;
  model.num_layers = 5;
  model.num_heads = model.num_kv_heads = 2;
  model.head_dim = 4;
  model.vocab_size = 56;
  return LlamaLike(model);
}

TEST(Settings, OptimizerStateInt8KeepsMomentsInEightBits) {
  config::RunConfig run;
  run.mutable_optimizer()->set_state(config::OPTIMIZER_STATE_INT8);
  EXPECT_EQ(StorageOptionsOf(run).moments, MomentStorage::kInt8);
  run.mutable_optimizer()->set_state(config::OPTIMIZER_STATE_FP32);
  EXPECT_EQ(StorageOptionsOf(run).moments, MomentStorage::kGradientDtype);
}

TEST(Settings, LayerMajorMakesAChunkOfEveryLayer) {
  const ModelSpec model = FiveLayers();
  config::RunConfig run;
  run.mutable_parallel()->set_pipeline(1);
  run.mutable_parallel()->set_chunks_per_stage(1);
  run.mutable_parallel()->set_pipeline_schedule(config::PIPELINE_SCHEDULE_LAYER_MAJOR);
  EXPECT_EQ(PipelineKindOf(run), PipelineKind::kLayerMajor);
  EXPECT_THAT(LayersPerRunOf(run, model).value(), ElementsAre(1, 1, 1, 1, 1));
  run.mutable_parallel()->set_pipeline_schedule(config::PIPELINE_SCHEDULE_1F1B);
  EXPECT_EQ(PipelineKindOf(run), PipelineKind::kOneForwardOneBackward);
  EXPECT_THAT(LayersPerRunOf(run, model).value(), ElementsAre(5));
}

TEST(Settings, RunsOfLayersAreTheConfigsOrBalanced) {
  const ModelSpec model = FiveLayers();
  config::RunConfig run;
  config::ParallelConfig& parallel = *run.mutable_parallel();
  parallel.set_pipeline(2);
  parallel.set_chunks_per_stage(1);
  EXPECT_THAT(LayersPerRunOf(run, model).value(), ElementsAre(3, 2));
  parallel.add_layers_per_stage(1);
  parallel.add_layers_per_stage(4);
  EXPECT_THAT(LayersPerRunOf(run, model).value(), ElementsAre(1, 4));
  parallel.set_layers_per_stage(1, 5);
  EXPECT_THAT(LayersPerRunOf(run, model).status().ToString(),
              HasSubstr("[1, 5] sums to 6, but the model has 5 layers"));
  parallel.clear_layers_per_stage();
  parallel.set_chunks_per_stage(3);
  EXPECT_THAT(LayersPerRunOf(run, model).status().ToString(),
              HasSubstr("2 x chunks_per_stage 3 = 6 runs of layers, but the model has only 5"));
}

}  // namespace
}  // namespace fttrain
