#include "launch/plan/idle.h"

#include <gmock/gmock.h>

namespace fttrain {
namespace {

using ::testing::HasSubstr;

Task OfRows(int64_t rows_per_step) {
  Task task;
  task.rows_per_step = rows_per_step;
  return task;
}

Layout Stages(int stages) {
  Layout layout;
  layout.mesh.pp = stages;
  return layout;
}

// Of p stages and m microbatches (p - 1) / (m + p - 1).
TEST(IdleShare, IsThatOfTheScheduleInClosedForm) {
  EXPECT_EQ(IdleShare(OfRows(1), Stages(1)), 0);
  EXPECT_NEAR(IdleShare(OfRows(1), Stages(2)), 1 / 2.0, 1e-12);
  EXPECT_NEAR(IdleShare(OfRows(8), Stages(4)), 3 / 11.0, 1e-12);
  Layout interleaved = Stages(2);
  interleaved.schedule = PipelineKind::kInterleaved;
  interleaved.layers_per_run = {1, 1, 1, 1};
  EXPECT_NEAR(IdleShare(OfRows(4), interleaved), 1 / 9.0, 1e-12);
}

TEST(IdleWarning, IsOfFewerMicrobatchesThanStages) {
  EXPECT_EQ(IdleWarning(OfRows(1), Stages(1)), "");
  EXPECT_EQ(IdleWarning(OfRows(4), Stages(4)), "");
  const std::string warning = IdleWarning(OfRows(1), Stages(4));
  EXPECT_THAT(warning, HasSubstr("1 microbatch for 4 stages, which wait 75% of it"));
  EXPECT_THAT(warning, HasSubstr("train.gradient_accumulation_steps 4 would make that 43%, 16 16%"));
}

}  // namespace
}  // namespace fttrain
