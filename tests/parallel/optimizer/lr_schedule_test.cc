#include "parallel/optimizer/lr_schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace fttrain {
namespace {

using Kind = LrSchedule::Kind;

struct Row {
  LrSchedule schedule;
  int64_t step;
  double want;
};

void ExpectRows(const std::vector<Row>& rows) {
  for (const Row& row : rows) {
    EXPECT_NEAR(LearningRate(row.schedule, row.step), row.want, 1e-15) << "step " << row.step;
  }
}

TEST(LearningRate, WarmsUpFromZeroAndStaysConstant) {
  const LrSchedule s{.kind = Kind::kConstant, .peak = 2.0, .warmup_steps = 4};
  ExpectRows({{s, 0, 0.0}, {s, 1, 0.5}, {s, 3, 1.5}, {s, 4, 2.0}, {s, 1000, 2.0}});
}

TEST(LearningRate, WithoutWarmUpTheFirstStepHasThePeak) {
  ExpectRows({{{.kind = Kind::kConstant, .peak = 3.0}, 0, 3.0},
              {{.kind = Kind::kLinear, .peak = 3.0, .total_steps = 10}, 0, 3.0},
              {{.kind = Kind::kCosine, .peak = 3.0, .total_steps = 10}, 0, 3.0}});
}

TEST(LearningRate, LinearFallsToZeroAtTheEnd) {
  const LrSchedule s{.kind = Kind::kLinear, .peak = 1.0, .warmup_steps = 2, .total_steps = 10};
  ExpectRows({{s, 0, 0.0},
              {s, 1, 0.5},
              {s, 2, 1.0},
              {s, 4, 0.75},
              {s, 9, 0.125},
              {s, 10, 0.0},
              {s, 12, 0.0}});
}

TEST(LearningRate, CosineIsHalfACosine) {
  const LrSchedule s{.kind = Kind::kCosine, .peak = 4.0, .warmup_steps = 2, .total_steps = 10};
  ExpectRows({{s, 1, 2.0},
              {s, 2, 4.0},
              {s, 4, 2.0 + std::sqrt(2.0)},  // a quarter of the way: 4 * (1 + cos(pi / 4)) / 2
              {s, 6, 2.0},
              {s, 10, 0.0},
              {s, 12, 0.0}});
}

TEST(LearningRate, MinRatioIsWhereTheFallEnds) {
  const LrSchedule cosine{
      .kind = Kind::kCosine, .peak = 1.0, .warmup_steps = 0, .total_steps = 8, .min_ratio = 0.1};
  const LrSchedule linear{
      .kind = Kind::kLinear, .peak = 1.0, .warmup_steps = 0, .total_steps = 8, .min_ratio = 0.2};
  ExpectRows({{cosine, 0, 1.0},
              {cosine, 4, 0.55},
              {cosine, 8, 0.1},
              {cosine, 20, 0.1},
              {linear, 0, 1.0},
              {linear, 4, 0.6},
              {linear, 8, 0.2},
              {linear, 20, 0.2}});
}

TEST(LearningRate, WarmUpAsLongAsTheRunNeverDividesByZero) {
  const LrSchedule s{.kind = Kind::kCosine, .peak = 1.0, .warmup_steps = 5, .total_steps = 5};
  ExpectRows({{s, 4, 0.8}, {s, 5, 1.0}});
}

}  // namespace
}  // namespace fttrain
