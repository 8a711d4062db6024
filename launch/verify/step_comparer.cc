#include "launch/verify/step_comparer.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "parallel/optimizer/int8_moments.h"

namespace fttrain {
namespace {

// Of a gradient, in shares of the whole model's norm.
constexpr double kGradientFloor = 1e-3;

// Where bfloat16 is mostly rounding: a gradient that is not there at all is off by 1.
constexpr double kMostAllowed = 0.5;

// Sum over elements of (a - b)^2, or of a^2, in double, in pieces that stay in the cache.
double SumOfSquares(const at::Tensor& a, const at::Tensor& b = {}) {
  constexpr int64_t kPiece = int64_t{1} << 16;
  const at::Tensor flat_a = a.contiguous().view(-1);
  const at::Tensor flat_b = b.defined() ? b.contiguous().view(-1) : b;
  double sum = 0;
  for (int64_t begin = 0; begin < flat_a.numel(); begin += kPiece) {
    const int64_t size = std::min(kPiece, flat_a.numel() - begin);
    at::Tensor piece = flat_a.narrow(0, begin, size).to(at::kDouble);
    if (flat_b.defined()) piece = piece - flat_b.narrow(0, begin, size).to(at::kDouble);
    sum += piece.square().sum().item<double>();
  }
  return sum;
}

// ||got - want|| / (||want - before|| + floor), infinite if not finite.
double ErrorOf(const at::Tensor& got, const at::Tensor& want, const at::Tensor& before,
               double floor) {
  const double difference = SumOfSquares(got, want);
  if (difference == 0) return 0;
  const double error = std::sqrt(difference) / (std::sqrt(SumOfSquares(want, before)) + floor);
  return std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
}

// Half a unit of a value's last place, relative to it.
double HalfUlp(at::ScalarType dtype) {
  if (dtype == at::kBFloat16) return std::exp2(-8);
  return dtype == at::kDouble ? std::exp2(-53) : std::exp2(-24);
}

// Whether blocks of 8-bit moments begin in the slice where they begin in the whole.
bool HasWholeBlocks(const HeldSlice& slice, const std::vector<int64_t>& shape) {
  if (slice.dim < 0) return true;
  int64_t inner = 1, outer = 1;
  for (size_t d = 0; d < shape.size(); ++d) {
    if (static_cast<int>(d) < slice.dim) outer *= shape[d];
    if (static_cast<int>(d) > slice.dim) inner *= shape[d];
  }
  return slice.offset * inner % kInt8Block == 0 &&
         (outer == 1 || slice.extent * inner % kInt8Block == 0);
}

}  // namespace

Tolerances RoundingOf(at::ScalarType compute, std::optional<double> gradient) {
  Tolerances rounding = {.gradient = 1e-4, .loss = 2e-5, .norm = 1e-6, .update = 1e-4};
  if (compute == at::kBFloat16) rounding.gradient = 0.3, rounding.loss = 2e-2;
  if (compute == at::kDouble) rounding = {1e-10, 1e-10, 1e-10, 1e-10};
  if (gradient) rounding.gradient = rounding.loss = *gradient;
  rounding.regrouped_update = 0.75;
  return rounding;
}

Tolerances MeasuredRounding() {
  Tolerances rounding = RoundingOf(at::kBFloat16, std::nullopt);
  rounding.own_errors = 8;
  // An own error below half a unit is chance.
  rounding.gradient = rounding.own_errors * HalfUlp(at::kBFloat16);
  return rounding;
}

StepComparer::StepComparer(const VerifiedRun& reference, const StepRecord* record,
                           const std::vector<std::vector<HeldSlice>>* recorded,
                           const Tolerances& tolerances, const StepRecord* precise)
    : run_(reference),
      record_(record),
      recorded_(recorded),
      tolerances_(tolerances),
      precise_(precise) {}

void StepComparer::Compare(const Rule& rule, int64_t parameter, const at::Tensor& got,
                           const at::Tensor& want, WorstError& worst) {
  const double error = ErrorOf(got, want, rule.before, rule.floor);
  const std::string& name = run_.Declared(parameter).slice.name;
  if (error > 0 && error * worst.allowed >= worst.error * rule.allowed) {
    worst = {error, rule.allowed, name};
  }
  if (error <= rule.allowed) return;
  comparison_.deviations.push_back({rule.step, rule.what, name, error, rule.allowed,
                                    RanksWithError(rule, parameter, got, want)});
}

// Those whose slice is off more than allowed by itself, at least the worst.
std::vector<int> StepComparer::RanksWithError(const Rule& rule, int64_t parameter,
                                              const at::Tensor& got, const at::Tensor& want) const {
  const std::vector<HeldSlice>& slices = (*recorded_)[static_cast<size_t>(parameter)];
  std::vector<double> errors;
  for (const HeldSlice& slice : slices) {
    const at::Tensor part = PartOf(want, slice);
    const at::Tensor before = rule.before.defined() ? PartOf(rule.before, slice) : rule.before;
    const double share =
        static_cast<double>(part.numel()) / std::max(1.0, static_cast<double>(want.numel()));
    errors.push_back(ErrorOf(PartOf(got, slice), part, before, rule.floor * std::sqrt(share)));
  }
  const double worst = errors.empty() ? 0 : *std::max_element(errors.begin(), errors.end());
  std::vector<int> ranks;
  for (size_t i = 0; i < slices.size(); ++i) {
    if (errors[i] < std::min(worst, rule.allowed)) continue;
    ranks.insert(ranks.end(), slices[i].ranks.begin(), slices[i].ranks.end());
  }
  std::sort(ranks.begin(), ranks.end());
  return ranks;
}

void StepComparer::CompareNumber(const char* what, int64_t step, double got, double want,
                                 double allowed) {
  const double error = RelativeError(got, want);
  if (error > allowed) comparison_.deviations.push_back({step, what, "", error, allowed, {}});
}

bool StepComparer::BlocksDiffer(int64_t parameter) const {
  const auto index = static_cast<size_t>(parameter);
  const Parameter& declared = run_.Declared(parameter);
  if (run_.moments != MomentStorage::kInt8 || !TakesInt8Moments(declared)) return false;
  const auto differ = [&](const HeldSlice& slice) {
    return !HasWholeBlocks(slice, declared.slice.global_shape);
  };
  const auto& recorded = (*recorded_)[index];
  const auto& own = run_.holders.slices()[index];
  return std::any_of(recorded.begin(), recorded.end(), differ) ||
         std::any_of(own.begin(), own.end(), differ);
}

double StepComparer::OwnError(int64_t step, int64_t parameter, const at::Tensor& want) const {
  if (precise_ == nullptr) return 0;
  return std::sqrt(SumOfSquares(precise_->Gradients(step, parameter), want));
}

void StepComparer::OnLoaded() {
  WorstError worst;
  TakeRecorded(
      run_, Recorded::kValues, [&](int64_t i) { return record_->Values(0, i); },
      [&](int64_t i, const at::Tensor& got, const at::Tensor& want) {
        Compare({"value", 0, /*allowed=*/0.0, /*floor=*/0.0, {}}, i, got, want, worst);
      });
  run_.optimizer.MastersFromParameters();
}

void StepComparer::OnGradients(int64_t step, double loss) {
  const double norm = run_.optimizer.GradientNorm();
  const double floor = kGradientFloor * norm;
  const auto add_own = [&](double allowed, double own_share) {  // a NaN allows the most
    return precise_ == nullptr ? allowed : std::min(kMostAllowed, allowed + own_share);
  };
  WorstError worst;
  double own_squares = 0;
  TakeRecorded(
      run_, Recorded::kGradients, [&](int64_t i) { return record_->Gradients(step, i); },
      [&](int64_t i, const at::Tensor& got, const at::Tensor& want) {
        const double own = OwnError(step, i, want);
        own_squares += own * own;
        const double share = own / (std::sqrt(SumOfSquares(want)) + floor);
        const double allowed = add_own(tolerances_.gradient, tolerances_.own_errors * share);
        Compare({"gradient", step + 1, allowed, floor, {}}, i, got, want, worst);
      });
  if (record_ == nullptr) return;
  const StepRecord::Scalars& recorded = record_->scalars[static_cast<size_t>(step)];
  comparison_.steps.push_back({step + 1, recorded.loss, loss, recorded.grad_norm, norm, worst, {}});
  CompareNumber("loss", step + 1, recorded.loss, loss, tolerances_.loss);
  CompareNumber("gradient norm", step + 1, recorded.grad_norm, norm,
                add_own(tolerances_.loss, std::sqrt(own_squares) / norm));
}

void StepComparer::OnUpdated(const StepMetrics& metrics) {
  WorstError worst;
  TakeRecorded(
      run_, Recorded::kValues, [&](int64_t i) { return record_->Values(metrics.step, i); },
      [&](int64_t i, const at::Tensor& got, const at::Tensor& want) {
        const double floor = HalfUlp(want.scalar_type()) * std::sqrt(SumOfSquares(want));
        const double allowed = BlocksDiffer(i) ? tolerances_.regrouped_update : tolerances_.update;
        Compare({"update", metrics.step, allowed, floor, record_->Values(metrics.step - 1, i)}, i,
                got, want, worst);
      });
  if (record_ == nullptr) return;
  StepComparison& row = comparison_.steps.back();
  row.update = worst;
  // Both counted the recorded gradients.
  CompareNumber("norm of equal gradients", metrics.step, row.grad_norm, metrics.grad_norm,
                tolerances_.norm);
}

}  // namespace fttrain
