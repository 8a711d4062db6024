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

std::string When(int64_t step) {
  return step == 0 ? std::string("as loaded") : absl::StrCat("step ", step);
}

std::string Line(const ReplicaDeviation& replica) {
  return absl::StrCat(When(replica.step), ": ", replica.what, " of ", replica.name, " on ",
                      Ranks(replica.wrong), " differ from those on ", Ranks(replica.right),
                      ", which should be the same bits");
}

std::string Line(const Deviation& deviation) {
  std::string text = absl::StrCat(When(deviation.step), ": ", deviation.what);
  if (!deviation.name.empty()) absl::StrAppend(&text, " of ", deviation.name);
  if (!deviation.ranks.empty()) absl::StrAppend(&text, " on ", Ranks(deviation.ranks));
  return absl::StrCat(text, absl::StrFormat(" is off by %.2g of its size, %.2g allowed",
                                            deviation.error, deviation.allowed));
}

template <typename Found>
void AddLines(const std::vector<Found>& all, std::vector<std::string>& lines) {
  for (size_t i = 0; i < std::min(all.size(), kMostOfAKind); ++i) lines.push_back(Line(all[i]));
}

std::string Worst(const WorstError& worst) {
  if (worst.error == 0) return "none";
  return absl::StrFormat("%.1e / %.1e %s", worst.error, worst.allowed, worst.name);
}

}  // namespace

double RelativeError(double a, double b) {
  if (a == b) return 0;
  const double error = std::abs(a - b) / std::abs(b);
  return std::isnan(error) ? std::numeric_limits<double>::infinity() : error;
}

std::string TableHead() {
  return absl::StrFormat("%4s  %-31s  %-31s  %-8s  %s | %s", "step", "loss, the reference's, off",
                         "grad_norm, the reference's, off", "replicas",
                         "worst gradient: error / allowed", "worst update");
}

std::string TableLine(const StepComparison& step, const std::vector<ReplicaDeviation>& replicas) {
  const bool equal =
      std::none_of(replicas.begin(), replicas.end(),
                   [&](const ReplicaDeviation& replica) { return replica.step == step.step; });
  return absl::StrFormat(
      "%4d  %10.7g  %10.7g  %7.1e  %10.7g  %10.7g  %7.1e  %-8s  %s | %s", step.step, step.loss,
      step.reference_loss, RelativeError(step.loss, step.reference_loss), step.grad_norm,
      step.reference_grad_norm, RelativeError(step.grad_norm, step.reference_grad_norm),
      equal ? "equal" : "DIFFER", Worst(step.gradient), Worst(step.update));
}

absl::Status Verdict(const Comparison& comparison, const std::string& setup) {
  std::vector<ReplicaDeviation> replicas = comparison.replicas;
  std::vector<Deviation> deviations = comparison.deviations;
  const size_t count = replicas.size() + deviations.size();
  if (count == 0) return absl::OkStatus();
  std::stable_sort(replicas.begin(), replicas.end(),
                   [](const auto& a, const auto& b) { return a.step < b.step; });
  std::stable_sort(deviations.begin(), deviations.end(), [](const auto& a, const auto& b) {
    return std::tuple(a.step, -a.error) < std::tuple(b.step, -b.error);
  });
  std::vector<std::string> lines = {absl::StrCat(
      "verify: ", setup, " does not train as the reference does; ", count,
      count == 1 ? " difference" : " differences", " beyond rounding, do not train with it")};
  AddLines(replicas, lines);
  AddLines(deviations, lines);
  if (lines.size() <= count)
    lines.push_back(absl::StrCat("and ", count + 1 - lines.size(), " more"));
  return absl::AbortedError(absl::StrJoin(lines, "\n"));
}

}  // namespace fttrain
