#include "launch/run/loss_guard.h"

#include <cmath>
#include <cstdlib>
#include <numeric>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

namespace fttrain {
namespace {

constexpr size_t kWindow = 100, kFewest = 20;

// Of which every digit counts.
std::string Exact(double value) { return absl::StrFormat("%a", value); }

}  // namespace

bool LossGuard::Spikes(double loss) const {
  if (options_.spike == 0 || losses_.size() < kFewest) return false;
  const auto n = static_cast<double>(losses_.size());
  const double mean = std::accumulate(losses_.begin(), losses_.end(), 0.0) / n;
  double squares = 0;
  for (const double each : losses_) squares += (each - mean) * (each - mean);
  return loss > mean + options_.spike * std::sqrt(squares / n);
}

std::string LossGuard::Judge(double loss, double grad_norm) {
  std::string why;
  if (!std::isfinite(loss) || !std::isfinite(grad_norm)) {
    why = kNotFinite;
  } else if (Spikes(loss)) {
    why = "loss spike";
  }
  in_a_row_ = why.empty() ? 0 : in_a_row_ + 1;
  if (why.empty() && options_.spike > 0) {
    losses_.push_back(loss);
    if (losses_.size() > kWindow) losses_.pop_front();
  }
  return why;
}

std::string LossGuard::State() const {
  std::vector<std::string> words = {absl::StrCat(in_a_row_)};
  for (const double loss : losses_) words.push_back(Exact(loss));
  return absl::StrJoin(words, " ");
}

bool LossGuard::Restore(absl::string_view state) {
  const std::vector<std::string> words = absl::StrSplit(state, ' ');
  int64_t in_a_row = 0;
  if (!absl::SimpleAtoi(words[0], &in_a_row) || words.size() > kWindow + 1) return false;
  std::deque<double> losses;
  for (size_t i = 1; i < words.size(); ++i) {
    char* end = nullptr;
    losses.push_back(std::strtod(words[i].c_str(), &end));
    if (words[i].empty() || *end != 0 || !std::isfinite(losses.back())) return false;
  }
  in_a_row_ = in_a_row;
  losses_ = std::move(losses);
  return true;
}

}  // namespace fttrain
