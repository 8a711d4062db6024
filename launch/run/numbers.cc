#include "launch/run/numbers.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace fttrain {

std::string WithCommas(int64_t n) {
  if (n < 1000) return absl::StrCat(n);
  return absl::StrFormat("%s,%03d", WithCommas(n / 1000), n % 1000);
}

std::string Share(int64_t part, int64_t whole) {
  if (part == 0 || whole == 0) return "0%";
  const double share = 100.0 * static_cast<double>(part) / static_cast<double>(whole);
  return share < 0.1 ? "under 0.1%" : absl::StrFormat("%.1f%%", share);
}

std::string Counted(int64_t n, const std::string& one, const std::string& several) {
  return absl::StrCat(WithCommas(n), " ", n == 1 ? one : several);
}

std::string ClockTime(double seconds) {
  const int64_t s = std::llround(std::max(0.0, seconds));
  return s >= 3600 ? absl::StrFormat("%d:%02d:%02d", s / 3600, s / 60 % 60, s % 60)
                   : absl::StrFormat("%d:%02d", s / 60, s % 60);
}

std::string InGib(int64_t bytes) {
  return absl::StrFormat("%.2f GiB", static_cast<double>(bytes) / (int64_t{1} << 30));
}

std::string InWords(int64_t bytes) {
  constexpr int64_t kMib = 1 << 20;
  if (bytes >= 100 * kMib) return InGib(bytes);
  if (bytes >= kMib) return absl::StrFormat("%.2f MiB", static_cast<double>(bytes) / kMib);
  return Counted(bytes, "byte");
}

}  // namespace fttrain
