// What verification found, and how it is told. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "parallel/layout/param.h"

namespace fttrain {

// Largest errors that count as rounding. comparer.h says what each is relative to.
struct Tolerances {
  double gradient = 0;                 // of each tensor
  double loss_and_norm = 0;            // of the loss, and of the norm of each one's own gradients
  double norm_of_equal_gradients = 0;  // of the norm that both compute of the same gradients
  double update = 0;                   // of each tensor
  double own_errors = 0;        // added to `gradient`: that many times the reference's own error
  double regrouped_update = 0;  // with 8-bit moments whose blocks begin elsewhere in the reference
};

// A number or tensor that is not what the reference has.
struct Deviation {
  int64_t step = 0;  // from 1; 0: as loaded
  std::string what;  // "gradient", "update", "loss", ...
  std::string name;  // of the parameter, "" for a number
  double error = 0, allowed = 0;
  std::vector<int> ranks;  // of the run, that hold what differs; empty for a number
};

// A replica that is not what the others hold.
struct ReplicaDeviation {
  int64_t step = 0;
  std::string what;  // "values", "gradients"
  std::string name;
  std::vector<int> wrong, right;
};

// The largest share of what is allowed; without error, no name.
struct WorstError {
  double error = 0, allowed = 1;
  std::string name = {};
};

struct StepComparison {
  int64_t step = 0;
  double loss = 0, reference_loss = 0;
  double grad_norm = 0, reference_grad_norm = 0;
  WorstError gradient, update;
};

struct Comparison {
  std::vector<StepComparison> steps;
  std::vector<Deviation> deviations;
  std::vector<ReplicaDeviation> replicas;
};

// |a - b| / |b|; 0 if they are equal, infinite if not finite.
double RelativeError(double a, double b);

std::string TableHead();
// One line; `replicas`: those of all steps.
std::string TableLine(const StepComparison& step, const std::vector<ReplicaDeviation>& replicas);

// OK, or Aborted with one line for each deviation, replicas first, the earliest step first, the
// largest error first; eight of each kind. `setup`: "tp 2 x pp 1 x dp 1", of the run.
absl::Status Verdict(const Comparison& comparison, const std::string& setup);

}  // namespace fttrain
