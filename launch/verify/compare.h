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

#include "absl/status/statusor.h"
#include "launch/verify/report.h"
#include "launch/verify/steps.h"

namespace fttrain {

// For runs that compute in `compute`; `asked`: of gradients, loss and norm, if given. The largest
// errors of runs that are right, and what is allowed, are in bench/results/verify_tolerances.md;
// bench/verify_tolerances.py measures them. With 8-bit moments, where a slice is not made of whole
// blocks, blocks begin elsewhere in it than in the whole, other elements share a scale, and updates
// of rows with hardly a gradient are off by up to half of their size.
//
// `measured`: beside the same steps in float32, with a tolerance for each gradient: 8 times the
// reference's own error against float32 and half a unit of the last place, at most 0.5. That error
// is what depth and cancellation make of bfloat16 in that very tensor; below half a unit it is
// chance. The whole gradient's own error is also added to what its norm may be off by.
Tolerances RoundingOf(at::ScalarType compute, std::optional<double> asked, bool measured);

// Trains `job`, the reference, and shows its table as it goes. Returns on rank 0 what the steps
// differ in by more than RoundingOf(its compute, `tolerance`, whether float32 gradients were
// recorded). Agrees on errors. Collective over the ranks of `process`, which are the job's.
absl::StatusOr<Comparison> CompareSteps(Job& job, const StepRecord& recorded,
                                        std::optional<double> tolerance, const Process& process);

}  // namespace fttrain
