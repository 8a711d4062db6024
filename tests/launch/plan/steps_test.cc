// What the rows decide of a task: its steps, and whether warm-up fits into them.
#include <gmock/gmock.h>

#include "absl/strings/str_cat.h"
#include "launch/plan/task.h"
#include "tests/status_text.h"

namespace fttrain {
namespace {

// Rows of two tokens, in file order; those of `masked` have no target.
RowStream Rows(int count, const std::vector<size_t>& masked = {}) {
  std::vector<Example> examples(static_cast<size_t>(count), Example{{1, 2}, {1, 2}, "a:1"});
  for (const size_t row : masked) {
    examples[row] = {{1, 2}, {kNoTarget, kNoTarget}, absl::StrCat("a:", row + 1)};
  }
  return RowStream::Create(std::move(examples),
                           {.sequence_len = 4, .packing = false, .shuffle = false})
      .value();
}

// Of eight rows a step.
Task EightRowsAStep(int64_t steps, double epochs) {
  Task task;
  task.rows_per_step = 8;
  task.rows.sequence_len = 4;
  task.steps = steps;
  task.epochs = epochs;
  return task;
}

TEST(SetSteps, TurnsEpochsIntoStepsAfterWhichTheRowsEnd) {
  RowStream rows = Rows(9);
  Task task = EightRowsAStep(0, 1);
  ASSERT_TRUE(SetSteps(task, rows).ok());
  EXPECT_EQ(task.steps, 2);
  EXPECT_EQ(task.learning_rate.total_steps, 2);
  EXPECT_EQ(RowsOfStep(rows.summary(), 1, 8), 1);
}

TEST(SetSteps, LeavesTheRowsOfMaxStepsWithoutAnEnd) {
  RowStream rows = Rows(9);
  Task task = EightRowsAStep(2, 0);
  ASSERT_TRUE(SetSteps(task, rows).ok());
  EXPECT_EQ(task.steps, 2);
  EXPECT_EQ(RowsOfStep(rows.summary(), 1, 8), 8);
}

TEST(SetSteps, RefusesAStepWithoutATargetAlsoWhereOnlyItsShortnessMakesItOne) {
  RowStream rows = Rows(9, /*masked=*/{8});
  Task task = EightRowsAStep(0, 1);
  EXPECT_THAT(SetSteps(task, rows),
              IsError(absl::StatusCode::kDataLoss, "step 2: its one row has no token to learn"));
  EXPECT_THAT(ErrorText(SetSteps(task, rows)), ::testing::EndsWith("; such rows are a:9"));
  RowStream many = Rows(16, /*masked=*/{8, 9, 10, 11, 12, 13, 14, 15});
  EXPECT_THAT(ErrorText(SetSteps(task, many)),
              ::testing::EndsWith("; such rows are a:9, a:10, a:11 and 5 more"));
  RowStream filled = Rows(9, /*masked=*/{8});
  Task by_steps = EightRowsAStep(2, 0);
  EXPECT_TRUE(SetSteps(by_steps, filled).ok());
}

absl::Status WarmupOf(int64_t warmup, double epochs, const config::KeyLocations& where = {}) {
  RowStream rows = Rows(32);
  Task task = EightRowsAStep(0, epochs);
  task.learning_rate.warmup_steps = warmup;
  EXPECT_TRUE(SetSteps(task, rows).ok());
  return CheckWarmup(task, rows.summary(), where);
}

TEST(Warmup, MayBeAsLongAsTheEpochsButNotLonger) {
  EXPECT_TRUE(WarmupOf(0, 3).ok());
  EXPECT_TRUE(WarmupOf(12, 3).ok());
  EXPECT_EQ(ErrorText(WarmupOf(13, 3)),
            "'schedule.warmup_steps' 13 is more than the run's 12 steps (train.num_epochs 3 = 96 "
            "rows, 8 rows a step); lower it, or train longer");
  EXPECT_THAT(WarmupOf(2, 0.25, {{"schedule.warmup_steps", "run.yaml:9"}}),
              IsError(absl::StatusCode::kInvalidArgument,
                      "run.yaml:9: 'schedule.warmup_steps' 2 is more than the run's 1 step "
                      "(train.num_epochs 0.25 = 8 rows"));
}

}  // namespace
}  // namespace fttrain
