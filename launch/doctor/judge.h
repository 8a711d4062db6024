// From what was measured to what it means. Pure: facts in, findings out; of facts that are not
// there yet nothing is said.
#pragma once

#include <string>
#include <vector>

#include "launch/doctor/facts.h"
#include "launch/doctor/finding.h"

namespace fttrain {

Findings JudgeVersions(const Facts& facts);
Findings JudgeDevices(const Facts& facts);  // of the ranks
Findings JudgeCards(const Facts& facts);    // of the hosts
Findings JudgeLinks(const Facts& facts);
Findings JudgeRanks(const Facts& facts);
Findings JudgeHosts(const Facts& facts);
Findings JudgeDisks(const Facts& facts);
Findings JudgeAll(const Facts& facts);  // in this order

// What the ranks were at when something happened.
struct Stage {
  std::string area = {};
  std::string what = {};  // "the pair of rank 0 and rank 1"
  int a = -1, b = -1;     // of a pair
};
// Of a job that stands still, or that a rank has left, `at` a stage; `seen`: the watchdog's words.
Finding JudgeHang(const Facts& facts, const Stage& at, const std::string& seen);
// Of an exception in a stage.
Finding JudgeFailure(const Facts& facts, const Stage& at, const std::string& what);

// The pairs in facts.links.pairs (by their places) that are an order of magnitude slower, in a
// direction, than those like them (on one host, or between hosts), or than any way should be.
std::vector<size_t> SlowPairs(const Facts& facts);
// Whether that is so although both had their cores; else the host is to blame, which is busy.
bool IsSlowByItself(const Facts& facts, const PairFacts& pair);

// For the judges.
bool OnOneHost(const Facts& facts, int a, int b);      // also of ranks that nobody knows
std::string RateText(double bytes_per_second);         // "1.53 GB/s", "21.0 MB/s"
std::string RanksText(const std::vector<int>& ranks);  // "rank 0", "ranks 0, 2"
// What to do about a way between ranks that hangs or is wrong, or is slow.
std::string LinkFix(const Facts& facts, bool one_host);
std::string SlowFix(const Facts& facts, bool one_host);

}  // namespace fttrain
