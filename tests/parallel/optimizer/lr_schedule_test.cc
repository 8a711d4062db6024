#include "parallel/optimizer/lr_schedule.h"

#include <gtest/gtest.h>

#include <cmath>
#include <utility>
#include <vector>

namespace fttrain {
namespace {

using Kind = LrSchedule::Kind;

// Pairs of a step and its learning rate.
void ExpectRates(const LrSchedule& schedule, const std::vector<std::pair<int64_t, double>>& rates) {
  for (const auto& [step, want] : rates) {
    EXPECT_NEAR(LearningRate(schedule, step), want, 1e-15) << "step " << step;
  }
}

TEST(LearningRate, WarmsUpFromZeroAndStaysConstant) {
  ExpectRates({.kind = Kind::kConstant, .peak = 2.0, .warmup_steps = 4},
              {{0, 0.0}, {1, 0.5}, {3, 1.5}, {4, 2.0}, {1000, 2.0}});
}

TEST(LearningRate, WithoutWarmUpTheFirstStepHasThePeak) {
  for (const Kind kind : {Kind::kConstant, Kind::kLinear, Kind::kCosine}) {
    ExpectRates({.kind = kind, .peak = 3.0, .total_steps = 10}, {{0, 3.0}});
  }
}

TEST(LearningRate, LinearFallsToZeroAtTheEnd) {
  ExpectRates({.kind = Kind::kLinear, .peak = 1.0, .warmup_steps = 2, .total_steps = 10},
              {{0, 0.0}, {1, 0.5}, {2, 1.0}, {4, 0.75}, {9, 0.125}, {10, 0.0}, {12, 0.0}});
}

TEST(LearningRate, CosineIsHalfACosine) {
  const double quarter = 2.0 + std::sqrt(2.0);  // of the way: 4 * (1 + cos(pi / 4)) / 2
  ExpectRates({.kind = Kind::kCosine, .peak = 4.0, .warmup_steps = 2, .total_steps = 10},
              {{1, 2.0}, {2, 4.0}, {4, quarter}, {6, 2.0}, {10, 0.0}, {12, 0.0}});
}

TEST(LearningRate, MinRatioIsWhereTheFallEnds) {
  ExpectRates({.kind = Kind::kCosine, .peak = 1.0, .total_steps = 8, .min_ratio = 0.1},
              {{0, 1.0}, {4, 0.55}, {8, 0.1}, {20, 0.1}});
  ExpectRates({.kind = Kind::kLinear, .peak = 1.0, .total_steps = 8, .min_ratio = 0.2},
              {{0, 1.0}, {4, 0.6}, {8, 0.2}, {20, 0.2}});
}

TEST(LearningRate, WarmUpAsLongAsTheRunNeverDividesByZero) {
  ExpectRates({.kind = Kind::kCosine, .peak = 1.0, .warmup_steps = 5, .total_steps = 5},
              {{4, 0.8}, {5, 1.0}});
}

}  // namespace
}  // namespace fttrain
