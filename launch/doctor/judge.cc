#include "launch/doctor/judge.h"

#include <iterator>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace fttrain {
namespace {

std::string HostOf(const Facts& facts, int rank) {
  for (const RankFacts& known : facts.ranks) {
    if (known.rank == rank) return known.host;
  }
  return "";
}

std::string FixOf(const Facts& facts, const Stage& at) {
  if (at.area == "links") {
    return LinkFix(facts, at.a < 0 ? facts.hosts.size() < 2 : OnOneHost(facts, at.a, at.b));
  }
  if (at.area == "disk") return "the file system does not answer: look at its server, and at dmesg";
  return "a driver or a host does not answer: look at nvidia-smi and dmesg there";
}

}  // namespace

bool OnOneHost(const Facts& facts, int a, int b) { return HostOf(facts, a) == HostOf(facts, b); }

std::string RateText(double bytes_per_second) {
  const bool giga = bytes_per_second >= 1e9;
  return absl::StrFormat(giga ? "%.2f GB/s" : "%.1f MB/s", bytes_per_second / (giga ? 1e9 : 1e6));
}

std::string RanksText(const std::vector<int>& ranks) {
  return absl::StrCat(ranks.size() == 1 ? "rank " : "ranks ", absl::StrJoin(ranks, ", "));
}

Findings JudgeAll(const Facts& facts) {
  Findings all;
  for (const auto judge :
       {JudgeVersions, JudgeDevices, JudgeCards, JudgeLinks, JudgeRanks, JudgeHosts, JudgeDisks}) {
    Findings some = judge(facts);
    std::move(some.begin(), some.end(), std::back_inserter(all));
  }
  return all;
}

Finding JudgeHang(const Facts& facts, const Stage& at, const std::string& seen) {
  return {Severity::kError, at.area, absl::StrCat(at.what, " hangs: ", seen), FixOf(facts, at),
          kExitHang};
}

Finding JudgeFailure(const Facts& facts, const Stage& at, const std::string& what) {
  return {Severity::kError, at.area, absl::StrCat(at.what, " fails: ", what), FixOf(facts, at)};
}

}  // namespace fttrain
