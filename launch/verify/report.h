// What verification found, and how it is told. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace fttrain {

// Largest errors that count as rounding. compare.h says what each is relative to.
struct Tolerances {
  double gradient = 0;                 // of each tensor
  double loss_and_norm = 0;            // of the loss, and of the norm of each one's own gradients
  double norm_of_equal_gradients = 0;  // of the norm that both compute of the same gradients
  double update = 0;                   // of each tensor
  double own_errors = 0;        // added to `gradient`: that many times the reference's own error
  double regrouped_update = 0;  // with 8-bit moments whose blocks begin elsewhere in the reference
};

// A number, tensor or replica that is not what it should be.
struct Deviation {
  int64_t step = 0;  // from 1; 0: as loaded
  std::string what;  // "gradient", "update", "loss", ...; of replicas "values", "gradients"
  std::string name;  // of the parameter, "" for a number
  double error = 0, allowed = 0;
  std::vector<int> ranks = {};  // of the run, that hold what differs; empty for a number
  // Ranks whose replicas are as they should be. Empty: compared with the reference.
  std::vector<int> right_ranks = {};

  bool is_replica() const { return !right_ranks.empty(); }
};

// The largest share of what is allowed; without error, no name.
struct WorstError {
  double error = 0, allowed = 1;
  std::string name = {};
};

struct StepComparison {
  int64_t step = 0;
  double loss = 0, grad_norm = 0;
  double reference_loss = 0, reference_grad_norm = 0;
  WorstError gradient = {}, update = {};
};

struct Comparison {
  std::vector<StepComparison> steps = {};
  std::vector<Deviation> deviations = {};
  Tolerances tolerances = {};
};

// |difference| / |size|; 0 without a difference, infinite if not finite.
double RelativeError(double difference, double size);

std::string TableHead();
// One line; `deviations`: of all steps, of replicas at least.
std::string TableLine(const StepComparison& step, const std::vector<Deviation>& deviations);

// That `setup` ("tp 2 x pp 1 x dp 1", of the run) equals `reference`, and how closely. Or Aborted
// with one line for each deviation, replicas first, the earliest step first, the largest error
// first; eight of each kind.
absl::StatusOr<std::string> Verdict(const Comparison& comparison, const std::string& setup,
                                    const std::string& reference);

}  // namespace fttrain
