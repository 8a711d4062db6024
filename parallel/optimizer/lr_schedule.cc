#include "parallel/optimizer/lr_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace fttrain {

double LearningRate(const LrSchedule& schedule, int64_t step) {
  if (step < schedule.warmup_steps) {
    return schedule.peak * static_cast<double>(step) / static_cast<double>(schedule.warmup_steps);
  }
  if (schedule.kind == LrSchedule::Kind::kConstant) return schedule.peak;
  const auto decay_steps = std::max<int64_t>(1, schedule.total_steps - schedule.warmup_steps);
  const double progress = std::min(
      1.0, static_cast<double>(step - schedule.warmup_steps) / static_cast<double>(decay_steps));
  const double fall = schedule.kind == LrSchedule::Kind::kLinear
                          ? 1.0 - progress
                          : 0.5 * (1.0 + std::cos(std::numbers::pi * progress));
  return schedule.peak * (schedule.min_ratio + (1.0 - schedule.min_ratio) * fall);
}

}  // namespace fttrain
