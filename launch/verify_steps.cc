#include "launch/verify_steps.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "parallel/gradient_reader.h"
#include "parallel/int8_moments.h"

namespace fttrain {
namespace {

// Of a gradient, in shares of the whole model's norm.
constexpr double kGradientFloor = 1e-3;

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

// Of the parameter's values, by index, from whoever has them: `use`(index, value), undefined where
// this rank holds none. Collective as ParameterGroups::Acquire.
template <typename Use>
void ForEachValue(const VerifiedRun& run, bool frozen_too, const Use& use) {
  ParameterGroups& groups = run.optimizer.groups();
  const auto& declared = run.declared.all();
  for (int64_t i = 0; i < static_cast<int64_t>(declared.size()); ++i) {
    if (!declared[static_cast<size_t>(i)]->trainable && !frozen_too) continue;
    const Parameter* mine = run.holders.Mine(i);
    if (mine != nullptr) groups.Acquire(mine->group);
    use(i, mine != nullptr ? mine->value : at::Tensor());
    if (mine != nullptr) groups.Release(mine->group);
  }
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
  Tolerances rounding = {
      .gradient = 1e-4, .loss = 0, .norm = 1e-6, .update = 1e-4, .regrouped_update = 0.75};
  if (compute == at::kBFloat16) rounding.gradient = 0.3;
  if (compute == at::kDouble) rounding.gradient = rounding.norm = rounding.update = 1e-10;
  if (gradient) rounding.gradient = *gradient;
  rounding.loss = rounding.gradient / 5;
  return rounding;
}

// Recording ---------------------------------------------------------------------------------------

void StepRecorder::CompareReplicas(int64_t step, const char* what,
                                   const std::vector<uint64_t>& hashes) {
  for (const ReplicaFault& fault : run_.holders.Compare(hashes)) {
    const auto index = static_cast<size_t>(fault.parameter);
    replicas_.push_back(
        {step, what, run_.declared.all()[index]->slice.name, fault.wrong, fault.right});
  }
}

void StepRecorder::RecordValues(int64_t steps_done) {
  std::vector<uint64_t> hashes(run_.declared.all().size());
  ForEachValue(run_, steps_done == 0, [&](int64_t i, const at::Tensor& value) {
    if (value.defined()) hashes[static_cast<size_t>(i)] = HashOf(value);
    if (!run_.declared.all()[static_cast<size_t>(i)]->trainable) return;
    run_.holders.Collect(i, value,
                         record_ != nullptr ? record_->Values(steps_done, i) : at::Tensor());
  });
  CompareReplicas(steps_done, "values", hashes);
}

void StepRecorder::OnLoaded() { RecordValues(0); }

void StepRecorder::OnGradients(int64_t step, double loss) {
  GradientReader reader(run_.optimizer.groups(), run_.mesh);
  const auto& declared = run_.declared.all();
  std::vector<uint64_t> hashes(declared.size());
  for (size_t i = 0; i < declared.size(); ++i) {
    if (!declared[i]->trainable) continue;
    const auto index = static_cast<int64_t>(i);
    const Parameter* mine = run_.holders.Mine(index);
    const at::Tensor local = mine != nullptr ? reader.Read(*mine) : at::Tensor();
    if (mine != nullptr) hashes[i] = HashOf(local);
    run_.holders.Collect(index, local,
                         record_ != nullptr ? record_->Gradients(step, index) : at::Tensor());
  }
  CompareReplicas(step + 1, "gradients", hashes);
  if (record_ != nullptr) record_->scalars[static_cast<size_t>(step)].loss = loss;
}

void StepRecorder::OnUpdated(const StepMetrics& metrics) {
  RecordValues(metrics.step);
  if (record_ == nullptr) return;
  record_->scalars[static_cast<size_t>(metrics.step - 1)].grad_norm = metrics.grad_norm;
}

// Comparing ---------------------------------------------------------------------------------------

StepComparer::StepComparer(const VerifiedRun& reference, const StepRecord* record,
                           const std::vector<std::vector<HeldSlice>>* recorded,
                           const Tolerances& tolerances)
    : run_(reference), record_(record), recorded_(recorded), tolerances_(tolerances) {}

double StepComparer::Error(const Rule& rule, int64_t parameter, const at::Tensor& got,
                           const at::Tensor& want) {
  const double difference = SumOfSquares(got, want);
  double error = 0;
  if (difference != 0) {  // nor a NaN
    error = std::sqrt(difference) / (std::sqrt(SumOfSquares(want, rule.before)) + rule.floor);
  }
  if (std::isnan(error)) error = std::numeric_limits<double>::infinity();
  if (error > rule.allowed) {
    comparison_.deviations.push_back({rule.step, rule.what, NameOf(parameter), error, rule.allowed,
                                      RanksWithError(rule, parameter, got, want)});
  }
  return error;
}

// Those whose slice is off more than allowed by itself, at least the worst.
std::vector<int> StepComparer::RanksWithError(const Rule& rule, int64_t parameter,
                                              const at::Tensor& got, const at::Tensor& want) const {
  const std::vector<HeldSlice>& slices = (*recorded_)[static_cast<size_t>(parameter)];
  std::vector<double> errors;
  for (const HeldSlice& slice : slices) {
    const at::Tensor part = PartOf(want, slice);
    const at::Tensor before = rule.before.defined() ? PartOf(rule.before, slice) : rule.before;
    const double difference = SumOfSquares(PartOf(got, slice), part);
    const double share =
        static_cast<double>(part.numel()) / std::max(1.0, static_cast<double>(want.numel()));
    const double error = difference == 0
                             ? 0
                             : std::sqrt(difference) / (std::sqrt(SumOfSquares(part, before)) +
                                                        rule.floor * std::sqrt(share));
    errors.push_back(std::isnan(error) ? std::numeric_limits<double>::infinity() : error);
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

// For each trainable parameter: `mine` is this rank's tensor of it, `recorded` the recorded run's
// on rank 0, which `compare` sees beside the whole of the reference's before that becomes it.
template <typename Mine, typename Recorded, typename Compare>
void StepComparer::ForEachTrainable(const Mine& mine, const Recorded& recorded,
                                    const Compare& compare) {
  const auto& declared = run_.declared.all();
  for (size_t i = 0; i < declared.size(); ++i) {
    if (!declared[i]->trainable) continue;
    const auto index = static_cast<int64_t>(i);
    const Parameter* held = run_.holders.Mine(index);
    const at::Tensor local = held != nullptr ? mine(*held) : at::Tensor();
    at::Tensor got, whole;
    if (record_ != nullptr) {
      got = recorded(index);
      whole = at::empty(got.sizes(), got.options());
    }
    run_.holders.Collect(index, local, whole);
    if (record_ != nullptr) compare(index, got, whole);
    run_.holders.Distribute(index, got, local);
  }
}

const std::string& StepComparer::NameOf(int64_t parameter) const {
  return run_.declared.all()[static_cast<size_t>(parameter)]->slice.name;
}

bool StepComparer::BlocksDiffer(int64_t parameter) const {
  const auto index = static_cast<size_t>(parameter);
  const Parameter& declared = *run_.declared.all()[index];
  if (run_.moments != MomentStorage::kInt8 || !TakesInt8Moments(declared)) return false;
  const auto differ = [&](const HeldSlice& slice) {
    return !HasWholeBlocks(slice, declared.slice.global_shape);
  };
  const auto& recorded = (*recorded_)[index];
  const auto& own = run_.holders.slices()[index];
  return std::any_of(recorded.begin(), recorded.end(), differ) ||
         std::any_of(own.begin(), own.end(), differ);
}

void StepComparer::OnLoaded() {
  ForEachTrainable([](const Parameter& held) { return held.value; },
                   [&](int64_t i) { return record_->Values(0, i); },
                   [&](int64_t i, const at::Tensor& got, const at::Tensor& want) {
                     Error({"value", 0, 0.0, 0.0, {}}, i, got, want);
                   });
  run_.optimizer.MastersFromParameters();
}

void StepComparer::OnGradients(int64_t step, double loss) {
  const double norm = run_.optimizer.GradientNorm();
  const Rule rule = {"gradient", step + 1, tolerances_.gradient, kGradientFloor * norm, {}};
  WorstError worst;
  ForEachTrainable([](const Parameter& held) { return held.grad; },
                   [&](int64_t i) { return record_->Gradients(step, i); },
                   [&](int64_t i, const at::Tensor& got, const at::Tensor& want) {
                     const double error = Error(rule, i, got, want);
                     if (error >= worst.error) worst = {error, NameOf(i)};
                   });
  if (record_ == nullptr) return;
  const StepRecord::Scalars& recorded = record_->scalars[static_cast<size_t>(step)];
  comparison_.steps.push_back({step + 1, recorded.loss, loss, recorded.grad_norm, norm, worst, {}});
  CompareNumber("loss", step + 1, recorded.loss, loss, tolerances_.loss);
  CompareNumber("gradient norm", step + 1, recorded.grad_norm, norm, tolerances_.loss);
}

void StepComparer::OnUpdated(const StepMetrics& metrics) {
  WorstError worst;
  ForEachTrainable(
      [](const Parameter& held) { return held.value; },
      [&](int64_t i) { return record_->Values(metrics.step, i); },
      [&](int64_t i, const at::Tensor& got, const at::Tensor& want) {
        const double floor = HalfUlp(want.scalar_type()) * std::sqrt(SumOfSquares(want));
        const double allowed = BlocksDiffer(i) ? tolerances_.regrouped_update : tolerances_.update;
        const Rule rule = {"update", metrics.step, allowed, floor,
                           record_->Values(metrics.step - 1, i)};
        const double error = Error(rule, i, got, want);
        if (error >= worst.error) worst = {error, NameOf(i)};
      });
  if (record_ == nullptr) return;
  StepComparison& row = comparison_.steps.back();
  row.update = worst;
  // Both counted the recorded gradients.
  CompareNumber("norm of equal gradients", metrics.step, row.grad_norm, metrics.grad_norm,
                tolerances_.norm);
}

}  // namespace fttrain
