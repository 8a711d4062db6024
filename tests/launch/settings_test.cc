#include "launch/settings.h"

#include <gmock/gmock.h>

namespace fttrain {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(Settings, OptimizerStateInt8KeepsMomentsInEightBits) {
  config::RunConfig run;
  run.mutable_optimizer()->set_state(config::OPTIMIZER_STATE_INT8);
  EXPECT_EQ(OptimizerOptionsOf(run).moments, MomentStorage::kInt8);
  run.mutable_optimizer()->set_state(config::OPTIMIZER_STATE_FP32);
  EXPECT_EQ(OptimizerOptionsOf(run).moments, MomentStorage::kGradientDtype);
}

TEST(Settings, LayerMajorMakesAChunkOfEveryLayer) {
  config::RunConfig run;
  run.mutable_parallel()->set_pipeline_schedule(config::PIPELINE_SCHEDULE_LAYER_MAJOR);
  EXPECT_EQ(PipelineKindOf(run), PipelineKind::kLayerMajor);
  EXPECT_THAT(LayersPerRunOf(run, 3), ElementsAre(1, 1, 1));
  run.mutable_parallel()->set_pipeline_schedule(config::PIPELINE_SCHEDULE_1F1B);
  EXPECT_EQ(PipelineKindOf(run), PipelineKind::kOneForwardOneBackward);
  EXPECT_THAT(LayersPerRunOf(run, 3), IsEmpty());
}

}  // namespace
}  // namespace fttrain
