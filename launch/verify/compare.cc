#include "launch/verify/compare.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "parallel/optimizer/int8_moments.h"
#include "runtime/process/check.h"
#include "runtime/process/log.h"

namespace fttrain {
namespace {

// Of a gradient, in shares of the whole model's norm.
constexpr double kGradientFloor = 1e-3;

// Where bfloat16 is mostly rounding: a gradient that is not there at all is off by 1.
constexpr double kMostAllowed = 0.5;

// ||a - b||, or ||a||, in double, in pieces that stay in the cache.
double Norm(const at::Tensor& a, const at::Tensor& b = {}) {
  constexpr int64_t kPiece = int64_t{1} << 16;
  const at::Tensor flat_a = a.contiguous().view(-1);
  const at::Tensor flat_b = b.defined() ? b.contiguous().view(-1) : b;
  double squares = 0;
  for (int64_t begin = 0; begin < flat_a.numel(); begin += kPiece) {
    const int64_t size = std::min(kPiece, flat_a.numel() - begin);
    at::Tensor piece = flat_a.narrow(0, begin, size).to(at::kDouble);
    if (flat_b.defined()) piece = piece - flat_b.narrow(0, begin, size).to(at::kDouble);
    squares += piece.square().sum().item<double>();
  }
  return std::sqrt(squares);
}

// Half a unit of a value's last place, relative to it.
double HalfUlp(at::ScalarType dtype) {
  if (dtype == at::kBFloat16) return std::exp2(-8);
  return dtype == at::kDouble ? std::exp2(-53) : std::exp2(-24);
}

// Whether blocks of 8-bit moments begin in the slice where they begin in the whole, which is
// contiguous.
bool HasWholeBlocks(const ParamSlice& slice, const at::Tensor& whole) {
  if (slice.dim < 0) return true;
  const int64_t inner = whole.stride(slice.dim);
  const bool in_one_piece = whole.numel() == whole.size(slice.dim) * inner;
  return slice.offset * inner % kInt8Block == 0 &&
         (in_one_piece || slice.extent * inner % kInt8Block == 0);
}

// What a tensor of the reference is compared by: relative to ||want - before|| + floor, or to
// ||want|| + floor where `before` is undefined.
struct Rule {
  const char* what;
  double allowed = 0, floor = 0;
  at::Tensor before = {};

  // In the slice's part of the whole tensors, whose share of the floor it has.
  double ErrorIn(const ParamSlice& slice, const at::Tensor& got, const at::Tensor& want) const {
    const at::Tensor part = slice.PartOf(want);
    const double difference = Norm(slice.PartOf(got), part);
    if (difference == 0) return 0;
    const double share = static_cast<double>(part.numel()) / static_cast<double>(want.numel());
    const at::Tensor base = before.defined() ? slice.PartOf(before) : before;
    return RelativeError(difference, Norm(part, base) + floor * std::sqrt(share));
  }
};

// On the reference's rank 0.
class Comparer {
 public:
  Comparer(const Task& task, const ReplicaMap& replicas, const StepRecord& recorded,
           const Tolerances& tolerances)
      : task_(task), replicas_(replicas), recorded_(recorded), comparison_(recorded.comparison) {
    comparison_.tolerances = tolerances;
  }
  const Comparison& comparison() const { return comparison_; }

  void CompareTensor(const WholeTensor& want);
  void CompareNumbers(const StepMetrics& metrics, double norm);

 private:
  Rule RuleOf(const WholeTensor& want);
  void CompareNumber(const char* what, int64_t step, double got, double want, double allowed);
  std::vector<int> RanksWithError(const Rule& rule, const at::Tensor& got,
                                  const WholeTensor& want) const;
  bool BlocksDiffer(const WholeTensor& tensor) const;
  // With what the reference's own error, a share of a size, adds to it.
  double WithOwnError(double allowed, double share) const {
    if (recorded_.float32_gradients.empty()) return allowed;
    return std::min(kMostAllowed, allowed + share);  // a NaN allows the most
  }

  const Task& task_;
  const ReplicaMap& replicas_;
  const StepRecord& recorded_;
  Comparison comparison_;
  double own_squares_ = 0;  // of the reference's own error in the step's gradients
};

// Whether the tensor's 8-bit moments have other scales in the reference.
bool Comparer::BlocksDiffer(const WholeTensor& seen) const {
  const size_t i = seen.parameter;
  if (task_.moments != MomentStorage::kInt8 || !TakesInt8Moments(replicas_.Declared(i))) {
    return false;
  }
  for (const auto* slices : {&recorded_.slices[i], &replicas_.slices()[i]}) {
    for (const HeldSlice& held : *slices) {
      if (!HasWholeBlocks(held.slice, seen.tensor)) return true;
    }
  }
  return false;
}

Rule Comparer::RuleOf(const WholeTensor& want) {
  const Tolerances& tolerances = comparison_.tolerances;
  if (want.quantity == Quantity::kValues) {
    if (want.step == 0) return {"value"};
    return {"update", BlocksDiffer(want) ? tolerances.regrouped_update : tolerances.update,
            HalfUlp(want.tensor.scalar_type()) * Norm(want.tensor),
            recorded_.Of(Quantity::kValues, want.step - 1, want.parameter)};
  }
  Rule rule{"gradient", tolerances.gradient, kGradientFloor * want.norm};
  if (recorded_.float32_gradients.empty()) return rule;
  const at::Tensor& precise =
      recorded_.float32_gradients[static_cast<size_t>(want.step)][want.parameter];
  const double own = Norm(precise, want.tensor);
  own_squares_ += own * own;
  const double share = own / (Norm(want.tensor) + rule.floor);
  rule.allowed = WithOwnError(rule.allowed, tolerances.own_errors * share);
  return rule;
}

void Comparer::CompareTensor(const WholeTensor& want) {
  const at::Tensor& got = recorded_.Of(want.quantity, want.step, want.parameter);
  const Rule rule = RuleOf(want);
  const ParamSlice& whole = replicas_.Declared(want.parameter).slice;
  const double error = rule.ErrorIn(whole, got, want.tensor);
  if (want.step > 0) {
    StepComparison& row = comparison_.steps[static_cast<size_t>(want.step) - 1];
    WorstError& worst = want.quantity == Quantity::kValues ? row.update : row.gradient;
    if (error > 0 && error * worst.allowed >= worst.error * rule.allowed) {
      worst = {error, rule.allowed, whole.name};
    }
  }
  if (error <= rule.allowed) return;
  comparison_.deviations.push_back(
      {want.step, rule.what, whole.name, error, rule.allowed, RanksWithError(rule, got, want)});
}

// Those whose slice is off more than allowed by itself, at least the worst.
std::vector<int> Comparer::RanksWithError(const Rule& rule, const at::Tensor& got,
                                          const WholeTensor& want) const {
  const std::vector<HeldSlice>& slices = recorded_.slices[want.parameter];
  std::vector<double> errors;
  for (const auto& [slice, ranks] : slices) {
    errors.push_back(rule.ErrorIn(slice, got, want.tensor));
  }
  const double worst = errors.empty() ? 0 : *std::max_element(errors.begin(), errors.end());
  std::vector<int> found;
  for (size_t i = 0; i < slices.size(); ++i) {
    if (errors[i] < std::min(worst, rule.allowed)) continue;
    found.insert(found.end(), slices[i].ranks.begin(), slices[i].ranks.end());
  }
  std::sort(found.begin(), found.end());
  return found;
}

void Comparer::CompareNumber(const char* what, int64_t step, double got, double want,
                             double allowed) {
  const double error = RelativeError(got - want, want);
  if (error > allowed) comparison_.deviations.push_back({step, what, "", error, allowed});
}

// Compares the numbers of the step, whose tensors have been seen.
void Comparer::CompareNumbers(const StepMetrics& metrics, double norm) {
  const Tolerances& tolerances = comparison_.tolerances;
  StepComparison& row = comparison_.steps[static_cast<size_t>(metrics.step) - 1];
  row.reference_loss = metrics.loss;
  row.reference_grad_norm = norm;
  CompareNumber("loss", row.step, row.loss, metrics.loss, tolerances.loss_and_norm);
  CompareNumber("gradient norm", row.step, row.grad_norm, norm,
                WithOwnError(tolerances.loss_and_norm, std::sqrt(own_squares_) / norm));
  // Both counted the recorded gradients.
  CompareNumber("norm of equal gradients", row.step, row.grad_norm, metrics.grad_norm,
                tolerances.norm_of_equal_gradients);
  own_squares_ = 0;
  LogInfo(TableLine(row, comparison_.deviations));
}

}  // namespace

Tolerances RoundingOf(at::ScalarType compute, std::optional<double> asked, bool measured) {
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
  if (measured) {
    rounding.own_errors = 8;
    // An own error below half a unit is chance.
    rounding.gradient = rounding.own_errors * HalfUlp(compute);
  }
  return rounding;
}

absl::StatusOr<Comparison> CompareSteps(Job& job, const StepRecord& recorded,
                                        std::optional<double> tolerance, const Process& process) {
  FT_ASSIGN_OR_RETURN(const ReplicaMap replicas, ReplicaMap::Create(*job.network, process));
  const Task& task = job.task();
  Comparer comparer(task, replicas, recorded,
                    RoundingOf(task.form.compute, tolerance, !recorded.float32_gradients.empty()));
  LogInfo(TableHead());
  const auto on_tensor = [&](const WholeTensor& seen) { comparer.CompareTensor(seen); };
  const auto after_step = [&](const StepMetrics& metrics, double norm) {
    if (process.rank() == 0) comparer.CompareNumbers(metrics, norm);
  };
  FT_RETURN_IF_ERROR(
      WatchSteps(job, replicas, recorded.steps(), {on_tensor, after_step, &recorded}).status());
  return comparer.comparison();
}

}  // namespace fttrain
