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
  Finding finding{Severity::kError, at.area, absl::StrCat(at.what, " hangs: ", seen), "",
                  kExitHang};
  if (at.area == "links") {
    finding.fix = at.a < 0 ? LinkFix(facts, facts.hosts.size() < 2)
                           : LinkFix(facts, OnOneHost(facts, at.a, at.b));
  } else if (at.area == "disk") {
    finding.fix = "the file system does not answer: look at its server or disk (dmesg)";
  } else if (at.area == "devices") {
    finding.fix = "a driver does not answer: look at nvidia-smi and dmesg on that host";
  } else {
    finding.fix = "look at that process and its host; is there another job on it?";
  }
  return finding;
}

}  // namespace fttrain
