#include <algorithm>
#include <array>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "launch/doctor/judge.h"
#include "launch/run/numbers.h"

namespace fttrain {
namespace {

constexpr size_t kMostLines = 8;

// Below these no way between ranks is worth training over: memory that is shared, GPUs of one host,
// a network of 1 Gbit/s.
constexpr double kLeastInHost = 100e6, kLeastBetweenGpus = 1e9, kLeastBetweenHosts = 50e6;

bool OverNccl(const Facts& facts) { return facts.links.transport == "NCCL"; }

double LeastRate(const Facts& facts, bool one_host) {
  if (!one_host) return kLeastBetweenHosts;
  return OverNccl(facts) ? kLeastBetweenGpus : kLeastInHost;
}

// The upper one of two in the middle, so that one bad direction does not set the measure.
double Median(std::vector<double> rates) {
  const auto middle = rates.begin() + static_cast<int64_t>(rates.size() / 2);
  std::nth_element(rates.begin(), middle, rates.end());
  return *middle;
}

double UsualRate(const Facts& facts, bool one_host) {
  std::vector<double> rates;
  for (const PairFacts& pair : facts.links.pairs) {
    if (OnOneHost(facts, pair.a, pair.b) != one_host) continue;
    rates.push_back(pair.forward.rate);
    rates.push_back(pair.backward.rate);
  }
  return rates.empty() ? 0 : Median(std::move(rates));
}

// Slower ones are slow.
double SlowBound(const Facts& facts, bool one_host) {
  constexpr double kOrder = 10;
  return std::max(UsualRate(facts, one_host) / kOrder, LeastRate(facts, one_host));
}

double SlowerRate(const PairFacts& pair) { return std::min(pair.forward.rate, pair.backward.rate); }

std::string PairName(const Facts& facts, int a, int b) {
  std::string name = absl::StrCat("the pair of rank ", a, " and rank ", b);
  for (const RankFacts& rank : facts.ranks) {
    if (rank.rank == a) absl::StrAppend(&name, " (", rank.host);
    if (rank.rank == b) absl::StrAppend(&name, ", ", rank.host, ")");
  }
  return name;
}

std::string WrongText(const DirectionFacts& way, int from, int to) {
  if (way.wrong_bytes == 0) return "";
  return absl::StrCat("of what rank ", from, " sent to rank ", to, ", ",
                      Counted(way.wrong_bytes, "byte"), " arrived wrong, the first at ",
                      way.first_wrong, " of ", way.bytes);
}

Finding WrongPair(const Facts& facts, const PairFacts& pair) {
  std::vector<std::string> wrong;
  for (const std::string& text :
       {WrongText(pair.forward, pair.a, pair.b), WrongText(pair.backward, pair.b, pair.a)}) {
    if (!text.empty()) wrong.push_back(text);
  }
  return {Severity::kError, "links",
          absl::StrCat(PairName(facts, pair.a, pair.b), " corrupts: ", absl::StrJoin(wrong, "; ")),
          LinkFix(facts, OnOneHost(facts, pair.a, pair.b)), kExitNumerics};
}

std::string PairText(const PairFacts& pair) {
  return absl::StrFormat("%s one way, %s back, %.1f us", RateText(pair.forward.rate),
                         RateText(pair.backward.rate), pair.latency_seconds * 1e6);
}

Finding SlowPair(const Facts& facts, const PairFacts& pair) {
  const bool one_host = OnOneHost(facts, pair.a, pair.b);
  const std::string name = PairName(facts, pair.a, pair.b);
  if (!IsSlowByItself(facts, pair)) {
    return {Severity::kWarning, "links",
            absl::StrFormat("%s is slow, for the host is busy: %s; the ranks "
                            "waited %.0f%% and %.0f%% of the time for a core",
                            name, PairText(pair), 100 * pair.backward.waited,
                            100 * pair.forward.waited),
            "end what else runs on the host, start fewer ranks than it has cores, and look again"};
  }
  return {Severity::kError, "links",
          absl::StrCat(name, " is slow: ", PairText(pair), "; the usual rate here is ",
                       RateText(UsualRate(facts, one_host)), ", the least worth using ",
                       RateText(LeastRate(facts, one_host))),
          SlowFix(facts, one_host)};
}

void JudgePairs(const Facts& facts, Findings& findings) {
  const std::vector<PairFacts>& pairs = facts.links.pairs;
  if (pairs.empty()) return;
  const std::vector<size_t> slow = SlowPairs(facts);
  Findings good;
  for (size_t i = 0; i < pairs.size(); ++i) {
    const bool wrong = pairs[i].forward.wrong_bytes + pairs[i].backward.wrong_bytes > 0;
    const bool is_slow = std::find(slow.begin(), slow.end(), i) != slow.end();
    if (wrong) findings.push_back(WrongPair(facts, pairs[i]));
    if (is_slow) findings.push_back(SlowPair(facts, pairs[i]));
    if (wrong || is_slow) continue;
    good.push_back({Severity::kOk, "links",
                    absl::StrCat("rank ", pairs[i].a, " and rank ", pairs[i].b,
                                 ": every byte right; ", PairText(pairs[i]))});
  }
  const size_t tried = pairs.size();
  if (good.size() <= kMostLines) {
    findings.insert(findings.end(), good.begin(), good.end());
  } else {
    const auto [least, most] = std::minmax_element(
        pairs.begin(), pairs.end(),
        [](const PairFacts& a, const PairFacts& b) { return SlowerRate(a) < SlowerRate(b); });
    findings.push_back({Severity::kOk, "links",
                        absl::StrCat(good.size(), " pairs: every byte right; slowest ",
                                     PairText(*least), "; fastest ", PairText(*most))});
  }
  const bool complete = !facts.links.sums.empty();  // they come after the pairs
  if (complete && static_cast<int>(tried) < facts.links.all_pairs) {
    findings.push_back({Severity::kNote, "links",
                        absl::StrCat(tried, " of ", facts.links.all_pairs,
                                     " pairs were tried: ranks 1, 2, 4, ... apart")});
  }
}

void JudgeSums(const Facts& facts, Findings& findings) {
  for (const SumFacts& sum : facts.links.sums) {
    std::vector<int> wrong;
    for (size_t rank = 0; rank < sum.wrong.size(); ++rank) {
      if (sum.wrong[rank] > 0) wrong.push_back(static_cast<int>(rank));
    }
    if (!wrong.empty()) {
      findings.push_back(
          {Severity::kError, "links",
           absl::StrCat("all_reduce of ", sum.bytes, " bytes is wrong on ", RanksText(wrong), ": ",
                        Counted(sum.wrong[static_cast<size_t>(wrong[0])], "element"), " on rank ",
                        wrong[0]),
           LinkFix(facts, facts.hosts.size() < 2), kExitNumerics});
      continue;
    }
    findings.push_back(
        {Severity::kOk, "links",
         absl::StrFormat("all_reduce of %s: every sum right; %.1f us, bus %s", InWords(sum.bytes),
                         sum.seconds * 1e6, RateText(sum.bus_rate))});
  }
}

}  // namespace

std::string LinkFix(const Facts& facts, bool one_host) {
  if (OverNccl(facts) && one_host) {
    return "mpirun -x NCCL_P2P_DISABLE=1 keeps GPUs from reaching each other directly; if that "
           "helps, set iommu=pt on the kernel's command line and ACS off in the BIOS; if not, "
           "NCCL_SHM_DISABLE=1, and 1 GB of /dev/shm";
  }
  if (OverNccl(facts)) {
    return "mpirun -x NCCL_IB_DISABLE=1 leaves InfiniBand out, -x NCCL_SOCKET_IFNAME=NAME chooses "
           "the interface that joins the hosts; look at cables, switch and firewall";
  }
  if (one_host) {
    return "mpirun --mca btl_vader_single_copy_mechanism none, or --mca btl self,tcp in place of "
           "shared memory; look at the host's memory (dmesg, ECC)";
  }
  return "mpirun --mca btl_tcp_if_include NAME chooses the interface that joins the hosts; look at "
         "cables, switch and firewall";
}

std::string SlowFix(const Facts& facts, bool one_host) {
  if (!one_host) {
    return absl::StrCat("look at cable and switch port (ethtool: speed, errors); ",
                        OverNccl(facts) ? "mpirun -x NCCL_SOCKET_IFNAME=NAME"
                                        : "mpirun --mca btl_tcp_if_include NAME",
                        " chooses another interface");
  }
  if (OverNccl(facts)) {
    return "look at the slots, risers and lanes of both cards (nvidia-smi topo -m); if direct "
           "copies are the slow ones, mpirun -x NCCL_P2P_DISABLE=1";
  }
  return "look at what else runs on the host, at fewer ranks than cores, and at the size of "
         "/dev/shm; mpirun --mca btl vader,self makes sure of shared memory";
}

std::vector<size_t> SlowPairs(const Facts& facts) {
  const std::array<double, 2> bounds = {SlowBound(facts, false), SlowBound(facts, true)};
  std::vector<size_t> slow;
  for (size_t i = 0; i < facts.links.pairs.size(); ++i) {
    const PairFacts& pair = facts.links.pairs[i];
    if (SlowerRate(pair) < bounds[OnOneHost(facts, pair.a, pair.b) ? 1 : 0]) slow.push_back(i);
  }
  return slow;
}

bool IsSlowByItself(const Facts& facts, const PairFacts& pair) {
  // A transfer moves while both ends run.
  const double moving =
      (1 - std::min(0.99, pair.forward.waited)) * (1 - std::min(0.99, pair.backward.waited));
  return SlowerRate(pair) / moving < SlowBound(facts, OnOneHost(facts, pair.a, pair.b));
}

Findings JudgeLinks(const Facts& facts) {
  Findings findings;
  if (facts.world_size == 1) {
    findings.push_back({Severity::kNote, "links", "one rank: no way between ranks was tried",
                        "mpirun -np N fttrain doctor tries those of a run of N ranks"});
  }
  if (!facts.links.error.empty()) {
    findings.push_back({Severity::kError, "links",
                        absl::StrCat("ranks cannot be connected: ", facts.links.error),
                        LinkFix(facts, facts.hosts.size() < 2), kExitPeerLost});
  }
  if (facts.links.connected) {
    findings.push_back({Severity::kOk, "links",
                        absl::StrCat(facts.world_size, " ranks over ", facts.links.transport)});
  }
  JudgePairs(facts, findings);
  JudgeSums(facts, findings);
  return findings;
}

}  // namespace fttrain
