// One that is told what a run computes: a file, a terminal, a page. Rank 0 has some.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"

namespace fttrain {

struct StepMetrics;  // metrics.h
struct HeldOutLoss;
struct Sample;  // samples.h

class MetricsSink {
 public:
  virtual ~MetricsSink() = default;
  // After every step, in order. An error ends the run.
  virtual absl::Status OnStep(const StepMetrics& metrics) = 0;
  // After an evaluation, when `step` steps were done; `lowest`: its loss is, so far.
  virtual absl::Status OnEvaluation(int64_t step, const HeldOutLoss& held_out, bool lowest) = 0;
  // After an evaluation, of a run that asks for answers.
  virtual absl::Status OnSamples(int64_t /*step*/, const std::vector<Sample>& /*samples*/) {
    return absl::OkStatus();
  }
};

}  // namespace fttrain
