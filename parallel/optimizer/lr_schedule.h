// Learning rate as a pure function of the optimizer step, with the semantics of transformers'
// schedules.
#pragma once

#include <cstdint>

namespace fttrain {

struct LrSchedule {
  enum class Kind { kConstant, kLinear, kCosine };
  Kind kind = Kind::kConstant;
  double peak = 0.0;
  int64_t warmup_steps = 0;
  int64_t total_steps = 0;  // of the run, warm-up included; unused by kConstant
  double min_ratio = 0.0;   // learning rate at total_steps / peak; unused by kConstant
};

// Of optimizer step `step`, counted from 0. Warm-up: peak * step / warmup_steps, so the first step
// has rate 0. Then peak * (min_ratio + (1 - min_ratio) * f), where f falls from 1 at the end of
// warm-up to 0 at total_steps and stays there: linearly, or as half a cosine. kConstant stays at
// peak.
double LearningRate(const LrSchedule& schedule, int64_t step);

}  // namespace fttrain
