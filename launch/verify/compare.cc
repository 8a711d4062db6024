#include "launch/verify/comparer.h"

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

Tolerances RoundingOf(at::ScalarType compute, std::optional<double> asked) {
  Tolerances rounding{.gradient = 1e-4,
                      .loss_and_norm = 2e-5,
                      .norm_of_equal_gradients = 1e-6,
                      .update = 1e-4,
                      .regrouped_update = 0.75};
  if (compute == at::kBFloat16) rounding.gradient = 0.3, rounding.loss_and_norm = 2e-2;
  if (compute == at::kDouble) {
    rounding.gradient = rounding.loss_and_norm = rounding.norm_of_equal_gradients =
        rounding.update = 1e-10;
  }
  if (asked) rounding.gradient = rounding.loss_and_norm = *asked;
  return rounding;
}

Tolerances MeasuredRounding() {
  Tolerances rounding = RoundingOf(at::kBFloat16, std::nullopt);
  rounding.own_errors = 8;
  // An own error below half a unit is chance.
  rounding.gradient = rounding.own_errors * HalfUlp(at::kBFloat16);
  return rounding;
}

Comparer::Comparer(const Job& job, const Holders& holders, const Recorded& recorded,
                   const Tolerances& tolerances)
    : job_(&job), holders_(&holders), recorded_(recorded), tolerances_(tolerances) {}

double Comparer::WithOwnError(double allowed, double share) const {
  if (recorded_.precise == nullptr) return allowed;
  return std::min(kMostAllowed, allowed + share);  // a NaN allows the most
}

void Comparer::OnStep(int64_t step, double loss, double norm) {
  const StepRecord::Scalars& recorded = recorded_.record->scalars[static_cast<size_t>(step)];
  comparison_.steps.push_back({step + 1, recorded.loss, loss, recorded.grad_norm, norm, {}, {}});
  CompareNumber("loss", step + 1, recorded.loss, loss, tolerances_.loss_and_norm);
  norm_ = norm;
  own_squares_ = 0;
}

Comparer::Rule Comparer::RuleOf(Seen what, int64_t at, int64_t parameter, const at::Tensor& want) {
  if (what == Seen::kValues && at == 0) return {"value", 0, /*allowed=*/0.0, /*floor=*/0.0, {}};
  if (what == Seen::kValues) {
    return {"update", at,
            BlocksDiffer(parameter) ? tolerances_.regrouped_update : tolerances_.update,
            HalfUlp(want.scalar_type()) * std::sqrt(SumOfSquares(want)),
            recorded_.record->Values(at - 1, parameter)};
  }
  const double floor = kGradientFloor * norm_;
  double share = 0;
  if (recorded_.precise != nullptr) {
    const double own = SumOfSquares(recorded_.precise->Gradients(at, parameter), want);
    own_squares_ += own;
    share = std::sqrt(own) / (std::sqrt(SumOfSquares(want)) + floor);
  }
  return {"gradient",
          at + 1,
          WithOwnError(tolerances_.gradient, tolerances_.own_errors * share),
          floor,
          {}};
}

void Comparer::OnWhole(Seen what, int64_t at, int64_t parameter, const at::Tensor& whole) {
  const at::Tensor got = recorded_.record->Of(what == Seen::kValues, at, parameter);
  const Rule rule = RuleOf(what, at, parameter, whole);
  const double error = ErrorOf(got, whole, rule.before, rule.floor);
  const std::string& name = Declared(parameter).slice.name;
  if (rule.step > 0) {
    StepComparison& row = comparison_.steps.back();
    WorstError& worst = what == Seen::kValues ? row.update : row.gradient;
    if (error > 0 && error * worst.allowed >= worst.error * rule.allowed) {
      worst = {error, rule.allowed, name};
    }
  }
  if (error <= rule.allowed) return;
  comparison_.deviations.push_back({rule.step, rule.what, name, error, rule.allowed,
                                    RanksWithError(rule, parameter, got, whole)});
}

void Comparer::OnUpdated(const StepMetrics& metrics) {
  const StepComparison& row = comparison_.steps.back();
  CompareNumber("gradient norm", metrics.step, row.grad_norm, norm_,
                WithOwnError(tolerances_.loss_and_norm, std::sqrt(own_squares_) / norm_));
  // Both counted the recorded gradients.
  CompareNumber("norm of equal gradients", metrics.step, row.grad_norm, metrics.grad_norm,
                tolerances_.norm_of_equal_gradients);
}

// Those whose slice is off more than allowed by itself, at least the worst.
std::vector<int> Comparer::RanksWithError(const Rule& rule, int64_t parameter,
                                          const at::Tensor& got, const at::Tensor& want) const {
  const std::vector<HeldSlice>& slices = (*recorded_.slices)[static_cast<size_t>(parameter)];
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

void Comparer::CompareNumber(const char* what, int64_t step, double got, double want,
                             double allowed) {
  const double error = RelativeError(got, want);
  if (error > allowed) comparison_.deviations.push_back({step, what, "", error, allowed, {}});
}

bool Comparer::BlocksDiffer(int64_t parameter) const {
  const Parameter& declared = Declared(parameter);
  if (job_->task().moments != MomentStorage::kInt8 || !TakesInt8Moments(declared)) {
    return false;
  }
  const auto differ = [&](const HeldSlice& slice) {
    return !HasWholeBlocks(slice, declared.slice.global_shape);
  };
  const auto index = static_cast<size_t>(parameter);
  const auto& recorded = (*recorded_.slices)[index];
  const auto& own = holders_->slices()[index];
  return std::any_of(recorded.begin(), recorded.end(), differ) ||
         std::any_of(own.begin(), own.end(), differ);
}

}  // namespace fttrain
