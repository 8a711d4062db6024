// Verification of a recorded run's steps against another run's, the reference, as that trains. Both
// train on the same rows from the same state.
//
// The reference computes every step from the state of the recorded run: after comparing gradients
// it takes the recorded ones, after comparing updated values the recorded ones. So each step is a
// test of its own: errors do not add up over steps, and the two halves of a step are told apart.
//   gradients  at equal values: ||g - r|| / (||r|| + floor), whole tensors, r the reference's; the
//              rounding of forward and backward. The floor, a thousandth of the whole model's norm,
//              keeps gradients that are rounding themselves (a bias on the keys hardly moves a
//              softmax) from counting.
//   updates    with equal gradients: ||v - r|| / (||r - before|| + floor). An AdamW update is a
//              gradient over its size, so a gradient that is nearly 0 turns rounding into a whole
//              step; with equal gradients there is none, and updates agree to the rounding of
//              values, which is the floor: an update may be smaller than what a value can show.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launch/verify/holders.h"
#include "launch/verify/report.h"
#include "launch/verify/step_record.h"
#include "launch/verify/watcher.h"

namespace fttrain {

// For runs that compute in `compute`; `asked`: of gradients, loss and norm, if given. The largest
// errors of runs that are right, and what is allowed, are in bench/results/verify_tolerances.md;
// bench/verify_tolerances.py measures them. With 8-bit moments, where a slice is not made of whole
// blocks, blocks begin elsewhere in it than in the whole, other elements share a scale, and updates
// of rows with hardly a gradient are off by up to half of their size.
Tolerances RoundingOf(at::ScalarType compute, std::optional<double> asked);

// For bfloat16 beside the same steps in float32, a tolerance for each tensor: 8 times the
// reference's own error against float32 and half a unit of bfloat16's last place, at most 0.5. That
// error is what depth and cancellation make of bfloat16 in that very tensor; below half a unit it
// is chance. The whole gradient's own error is also added to what its norm may be off by.
Tolerances MeasuredRounding();

// What a run was, for those who compare with it; all on rank 0.
struct Recorded {
  const StepRecord* record;
  const std::vector<std::vector<HeldSlice>>* slices;  // who held what
  const StepRecord* precise;  // gradients of the same steps in float32; null without
};

// The reference's viewer.
class Comparer : public Viewer {
 public:
  // `job` and `holders`: of the reference, which takes `recorded.record`. All must outlive this.
  Comparer(const Job& job, const Holders& holders, const Recorded& recorded,
           const Tolerances& tolerances);

  void OnStep(int64_t step, double loss, double norm) override;
  void OnWhole(Seen what, int64_t at, int64_t parameter, const at::Tensor& whole) override;
  void OnUpdated(const StepMetrics& metrics) override;
  const Comparison& comparison() const { return comparison_; }  // without replicas

 private:
  struct Rule {
    const char* what;
    int64_t step;
    double allowed;
    double floor;       // of the whole tensor
    at::Tensor before;  // undefined: relative to what is wanted itself
  };
  Rule RuleOf(Seen what, int64_t at, int64_t parameter, const at::Tensor& want);
  void CompareNumber(const char* what, int64_t step, double got, double want, double allowed);
  std::vector<int> RanksWithError(const Rule& rule, int64_t parameter, const at::Tensor& got,
                                  const at::Tensor& want) const;
  bool BlocksDiffer(int64_t parameter) const;
  // What the reference's own error, a share of a size, adds to what is allowed.
  double WithOwnError(double allowed, double share) const;
  const Parameter& Declared(int64_t parameter) const {
    return *job_->network->declared.all()[static_cast<size_t>(parameter)];
  }

  const Job* job_;
  const Holders* holders_;
  Recorded recorded_;
  Tolerances tolerances_;
  Comparison comparison_;
  double norm_ = 0, own_squares_ = 0;  // of the step's gradients: the reference's, its own error's
};

}  // namespace fttrain
