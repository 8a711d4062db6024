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

#include "launch/run/trainer.h"
#include "launch/verify/report.h"
#include "launch/verify/step_record.h"
#include "launch/verify/verified_run.h"

namespace fttrain {

// For runs that compute in `compute`, with `gradient` as the tolerance of gradients, loss and norm
// if given. Worst seen over lora, qlora and full, tp 2, pp 2, tp 2 x pp 2, tp 2 x dp 2 with zero 3,
// of the parity tests' models (64 wide, 3 layers), over SmolLM2-135M (30 layers) on tp 3, and what
// is allowed:
//               gradient               loss                    gradient norm
//   float32     2.1e-6  9.9e-6  1e-4   2.0e-8  1.5e-7  2e-5    1.6e-7  2.1e-7  2e-5
//   bfloat16    3.8e-2  0.12    0.3    4.6e-4  1.4e-3  2e-2    3.7e-3  5.1e-3  2e-2
// Updates, and norms of equal gradients, were equal to the last bit or two. Updates with 8-bit
// moments too; but where a slice is not made of whole blocks, blocks begin elsewhere in it than in
// the whole, other elements share a scale, and updates of rows with hardly a gradient are off by up
// to half of their size.
Tolerances RoundingOf(at::ScalarType compute, std::optional<double> gradient);

// For bfloat16 beside the same steps in float32, a tolerance for each tensor: 8 times the
// reference's own error against float32 and half a unit of bfloat16's last place, at most 0.5. That
// error is what depth and cancellation make of bfloat16 in that very tensor; below half a unit it
// is chance. Worst seen in the same runs: 2.2 times, 4.1 on 30 layers, 10.5 where it was below half
// a unit; most are at 1. The whole gradient's own error is also added to what its norm may be off
// by.
Tolerances MeasuredRounding();

// The reference's observer; it has all values and gradients of its ranks (ZeRO 0). Compares on its
// rank 0. Collective over the reference's ranks.
class StepComparer : public StepObserver {
 public:
  // `record`, `recorded` (who held what in the recorded run) and `precise` (gradients of the same
  // steps in float32, StepFollower; null without) are rank 0's, and null on others.
  StepComparer(const VerifiedRun& reference, const StepRecord* record,
               const std::vector<std::vector<HeldSlice>>* recorded, const Tolerances& tolerances,
               const StepRecord* precise);

  void OnLoaded();
  void OnGradients(int64_t step, double loss) override;
  void OnUpdated(const StepMetrics& metrics) override;
  // On rank 0; without replicas.
  const Comparison& comparison() const { return comparison_; }

 private:
  struct Rule {
    const char* what;
    int64_t step;
    double allowed;
    double floor;       // of the whole tensor
    at::Tensor before;  // undefined: relative to what is wanted itself
  };
  // Notes what is not allowed, and the worst.
  void Compare(const Rule& rule, int64_t parameter, const at::Tensor& got, const at::Tensor& want,
               WorstError& worst);
  void CompareNumber(const char* what, int64_t step, double got, double want, double allowed);
  std::vector<int> RanksWithError(const Rule& rule, int64_t parameter, const at::Tensor& got,
                                  const at::Tensor& want) const;
  // ||own error of the reference's gradient||, 0 where it is not measured.
  double OwnError(int64_t step, int64_t parameter, const at::Tensor& want) const;
  bool BlocksDiffer(int64_t parameter) const;

  VerifiedRun run_;
  const StepRecord* record_;
  const std::vector<std::vector<HeldSlice>>* recorded_;
  Tolerances tolerances_;
  const StepRecord* precise_;
  Comparison comparison_;
};

}  // namespace fttrain
