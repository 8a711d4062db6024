#include "launch/verify/report.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace fttrain {
namespace {

constexpr size_t kMostOfAKind = 8;  // lines

std::string Ranks(const std::vector<int>& ranks) {
  return absl::StrCat(ranks.size() == 1 ? "rank " : "ranks ", absl::StrJoin(ranks, ", "));
}

std::string Line(const Deviation& deviation) {
  std::string text = deviation.step == 0 ? "as loaded" : absl::StrCat("step ", deviation.step);
  absl::StrAppend(&text, ": ", deviation.what);
  if (!deviation.name.empty()) absl::StrAppend(&text, " of ", deviation.name);
  if (!deviation.ranks.empty()) absl::StrAppend(&text, " on ", Ranks(deviation.ranks));
  if (deviation.is_replica()) {
    return absl::StrCat(text, " differ from those on ", Ranks(deviation.right_ranks),
                        ", which should be the same bits");
  }
  return absl::StrCat(text, absl::StrFormat(" is off by %.2g of its size, %.2g allowed",
                                            deviation.error, deviation.allowed));
}

std::string Worst(const WorstError& worst) {
  if (worst.error == 0) return "none";
  return absl::StrFormat("%.1e / %.1e %s", worst.error, worst.allowed, worst.name);
}

}  // namespace

double RelativeError(double difference, double size) {
  if (difference == 0) return 0;
  const double error = std::abs(difference) / std::abs(size);
  return std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
}

std::string TableHead() {
  return absl::StrFormat("%4s  %-31s  %-31s  %-8s  %s | %s", "step", "loss, the reference's, off",
                         "grad_norm, the reference's, off", "replicas",
                         "worst gradient: error / allowed", "worst update");
}

std::string TableLine(const StepComparison& step, const std::vector<Deviation>& deviations) {
  const bool equal = std::none_of(
      deviations.begin(), deviations.end(),
      [&](const Deviation& found) { return found.is_replica() && found.step == step.step; });
  return absl::StrFormat(
      "%4d  %10.7g  %10.7g  %7.1e  %10.7g  %10.7g  %7.1e  %-8s  %s | %s", step.step, step.loss,
      step.reference_loss, RelativeError(step.loss - step.reference_loss, step.reference_loss),
      step.grad_norm, step.reference_grad_norm,
      RelativeError(step.grad_norm - step.reference_grad_norm, step.reference_grad_norm),
      equal ? "equal" : "DIFFER", Worst(step.gradient), Worst(step.update));
}

absl::StatusOr<std::string> Verdict(const Comparison& comparison, const std::string& setup,
                                    const std::string& reference) {
  std::vector<Deviation> deviations = comparison.deviations;
  const size_t count = deviations.size();
  if (count == 0) {
    const Tolerances& allowed = comparison.tolerances;
    const std::string own = allowed.own_errors > 0 ? absl::StrCat(" + ", allowed.own_errors,
                                                                  " times bfloat16's own error")
                                                   : "";
    return absl::StrFormat(
        "verify: %s equals %s: gradients within %.2g%s, updates within %.2g, "
        "replicas bit for bit, over %d steps",
        setup, reference, allowed.gradient, own, allowed.update, comparison.steps.size());
  }
  std::stable_sort(deviations.begin(), deviations.end(), [](const auto& a, const auto& b) {
    return std::tuple(!a.is_replica(), a.step, -a.error) <
           std::tuple(!b.is_replica(), b.step, -b.error);
  });
  std::vector<std::string> lines = {absl::StrCat(
      "verify: ", setup, " does not train as the reference does; ", count,
      count == 1 ? " difference" : " differences", " beyond rounding, do not train with it")};
  size_t replicas = 0, others = 0;
  for (const Deviation& deviation : deviations) {
    size_t& of_its_kind = deviation.is_replica() ? replicas : others;
    if (++of_its_kind <= kMostOfAKind) lines.push_back(Line(deviation));
  }
  if (lines.size() <= count) {
    lines.push_back(absl::StrCat("and ", count + 1 - lines.size(), " more"));
  }
  return absl::AbortedError(absl::StrJoin(lines, "\n"));
}

}  // namespace fttrain
