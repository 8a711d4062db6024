// Verification of a run's steps against another run's: one run records what it computes, the other,
// the reference, compares as it goes. Both train on the same rows from the same state.
//
// The reference computes every step from the state of the recorded run: after comparing gradients
// it takes the recorded ones, after comparing updated values the recorded ones. So each step is a
// test of its own: errors do not add up over steps, and the two halves of a step are told apart.
//   gradients  at equal values: ||g - r|| / (||r|| + floor), whole tensors, r the reference's; the
//              rounding of forward and backward. The floor keeps gradients that are rounding
//              themselves (a bias on the keys hardly moves a softmax) from counting.
//   updates    with equal gradients: ||v - r|| / (||r - before|| + floor). An AdamW update is a
//              gradient over its size, so a gradient that is nearly 0 turns rounding into a whole
//              step; with equal gradients there is none, and updates agree to the rounding of
//              values, which is the floor: an update may be smaller than what a value can show.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launch/holders.h"
#include "launch/step_record.h"
#include "launch/trainer.h"
#include "launch/verify_report.h"
#include "parallel/mesh.h"
#include "parallel/optimizer.h"

namespace fttrain {

// For runs that compute in `compute`, with `gradient` as the tolerance of gradients if given.
// Worst seen over lora, qlora and full, tp 2, pp 2, tp 2 x pp 2, tp 2 x dp 2 with zero 3, of the
// parity tests' models (64 wide, 3 layers), and what is allowed:
//               gradient          loss              gradient norm
//   float32     2.1e-6  1e-4      2.0e-8  2e-5      1.6e-7  2e-5
//   bfloat16    3.8e-2  0.3       4.6e-4  6e-2      3.7e-3  6e-2
// Deeper models round more often (30 layers, tp 3: 1e-5 and 0.12), so allowed is more than seen; a
// scale, a sum or a mask that is wrong is off by far more in float32. In bfloat16 it may not be:
// `--set precision.compute=fp32` makes verification sharper. Updates and norms of equal gradients
// were equal to the last bit, updates with 8-bit moments too; but where a slice is not made of
// whole blocks, blocks begin elsewhere in it than in the whole, other elements share a scale, and
// updates of rows with hardly a gradient are off by up to half of their size.
Tolerances RoundingOf(at::ScalarType compute, std::optional<double> gradient);

// A run that is verified or the reference. All must outlive the observers.
struct VerifiedRun {
  const ParameterSet& declared;  // of the whole model; the same in both runs
  const Mesh& mesh;
  Optimizer& optimizer;
  const Holders& holders;
  MomentStorage moments = MomentStorage::kGradientDtype;
};

// Records on rank 0, and compares what several ranks hold. Collective over the run's ranks.
class StepRecorder : public StepObserver {
 public:
  // `record`: null on other ranks.
  StepRecorder(const VerifiedRun& run, StepRecord* record) : run_(run), record_(record) {}

  // Before the first step: values as loaded, frozen ones too.
  void OnLoaded();
  void OnGradients(int64_t step, double loss) override;
  void OnUpdated(const StepMetrics& metrics) override;
  // The same on every rank.
  const std::vector<ReplicaDeviation>& replicas() const { return replicas_; }

 private:
  void RecordValues(int64_t steps_done);
  void CompareReplicas(int64_t step, const char* what, const std::vector<uint64_t>& hashes);

  VerifiedRun run_;
  StepRecord* record_;
  std::vector<ReplicaDeviation> replicas_;
};

// The reference's observer; it has all values and gradients of its ranks (ZeRO 0). Compares on its
// rank 0. Collective over the reference's ranks.
class StepComparer : public StepObserver {
 public:
  // `record` and `recorded` (who held what in the recorded run): null on ranks other than 0.
  StepComparer(const VerifiedRun& reference, const StepRecord* record,
               const std::vector<std::vector<HeldSlice>>* recorded, const Tolerances& tolerances);

  void OnLoaded();
  void OnGradients(int64_t step, double loss) override;
  void OnUpdated(const StepMetrics& metrics) override;
  // On rank 0; without replicas.
  const Comparison& comparison() const { return comparison_; }

 private:
  // The error of `got` against `want` by this rule, noted if it is not allowed.
  struct Rule {
    const char* what;
    int64_t step;
    double allowed;
    double floor;       // of the whole tensor
    at::Tensor before;  // undefined: relative to `want` itself
  };
  double Error(const Rule& rule, int64_t parameter, const at::Tensor& got, const at::Tensor& want);
  std::vector<int> RanksWithError(const Rule& rule, int64_t parameter, const at::Tensor& got,
                                  const at::Tensor& want) const;
  void CompareNumber(const char* what, int64_t step, double got, double want, double allowed);
  template <typename Mine, typename Recorded, typename Compare>
  void ForEachTrainable(const Mine& mine, const Recorded& recorded, const Compare& compare);
  const std::string& NameOf(int64_t parameter) const;
  bool BlocksDiffer(int64_t parameter) const;

  VerifiedRun run_;
  const StepRecord* record_;
  const std::vector<std::vector<HeldSlice>>* recorded_;
  Tolerances tolerances_;
  Comparison comparison_;
};

}  // namespace fttrain
