#include "runtime/process/verdict.h"

#include <algorithm>
#include <functional>
#include <set>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"

namespace fttrain {
namespace {

using Process = RankSeen::Process;
using Phase = RankSeen::Phase;
using Seen = std::vector<const RankSeen*>;

// Signs of life come several times a second, also where there are more threads than cores.
constexpr double kSilentSeconds = 2;
constexpr size_t kMostNamed = 4;

std::string Seconds(double seconds) { return absl::StrFormat("%.1f s", seconds); }

std::string Who(const RankSeen& rank, const std::string& host) {
  return absl::StrCat("rank ", rank.rank, " (host ", host, ", pid ", rank.pid, ")");
}

std::string LastSeen(const RankSeen& rank) {
  if (rank.last.empty()) return "";
  return absl::StrCat(", last seen in ", rank.last, " ", Seconds(rank.last_seconds), " ago");
}

std::string Ranks(const std::set<int>& ranks) {
  return absl::StrCat(ranks.size() == 1 ? "rank " : "ranks ", absl::StrJoin(ranks, ", "));
}

// "A is to blame: WHY; so is B: WHY".
std::string Blame(const Seen& culprits, const std::string& host,
                  const std::function<std::string(const RankSeen&)>& why) {
  std::string text;
  for (size_t i = 0; i < std::min(culprits.size(), kMostNamed); ++i) {
    const std::string who = Who(*culprits[i], host);
    absl::StrAppend(&text, i == 0 ? who + " is to blame: " : "; so is " + who + ": ",
                    why(*culprits[i]), LastSeen(*culprits[i]));
  }
  if (culprits.size() > kMostNamed) {
    absl::StrAppend(&text, "; so are ", culprits.size() - kMostNamed, " others");
  }
  return text;
}

template <typename Is>
Seen Those(absl::Span<const RankSeen> ranks, const Is& is) {
  Seen those;
  for (const RankSeen& rank : ranks) {
    if (is(rank)) those.push_back(&rank);
  }
  return those;
}

bool IsGone(const RankSeen& rank) {
  return rank.process == Process::kGone && rank.phase != Phase::kLeft;
}

std::string WhyGone(const RankSeen& rank) {
  return rank.has_told ? "its process has ended, and said why" : "its process is gone";
}

bool IsSilent(const RankSeen& rank) {
  return rank.phase != Phase::kLeft &&
         (rank.process == Process::kStopped || rank.silent_seconds >= kSilentSeconds);
}

std::string WhySilent(const RankSeen& rank) {
  if (rank.process == Process::kStopped) return "process stopped (signal or debugger)";
  return absl::StrCat("no heartbeat for ", Seconds(rank.silent_seconds),
                      rank.process == Process::kWaitsForDisk ? " (its process waits for a disk)"
                                                             : " though its process is there");
}

bool Needs(const RankSeen& waiting, int rank) {
  return waiting.rank != rank &&
         std::any_of(waiting.operations.begin(), waiting.operations.end(),
                     [&](const std::string& text) { return ParseOperation(text).Needs(rank); });
}

std::set<int> WaitingFor(int rank, absl::Span<const RankSeen> ranks) {
  std::set<int> waiting;
  for (const RankSeen& other : ranks) {
    if (Needs(other, rank)) waiting.insert(other.rank);
  }
  return waiting;
}

// Of ranks that work for themselves, those that others wait for; if nobody waits for one, all. Then
// only those that have not moved for about as long as the stillest: the others get on.
Seen Working(absl::Span<const RankSeen> ranks) {
  Seen working = Those(ranks, [](const RankSeen& rank) { return rank.operations.empty(); });
  const auto is_awaited = [&](const RankSeen* rank) {
    return !WaitingFor(rank->rank, ranks).empty();
  };
  if (std::any_of(working.begin(), working.end(), is_awaited)) {
    std::erase_if(working, [&](const RankSeen* rank) { return !is_awaited(rank); });
  } else {
    std::erase_if(working, [](const RankSeen* rank) { return rank->phase != Phase::kInStep; });
  }
  double longest = 0;
  for (const RankSeen* rank : working) longest = std::max(longest, rank->still_seconds);
  std::erase_if(working, [&](const RankSeen* rank) { return rank->still_seconds < longest / 2; });
  return working;
}

std::string WhyWorking(const RankSeen& rank, absl::Span<const RankSeen> ranks) {
  const std::set<int> waiting = WaitingFor(rank.rank, ranks);
  const std::string who = waiting.empty()
                              ? ""
                              : absl::StrCat(" while ", Ranks(waiting),
                                             waiting.size() == 1 ? " waits" : " wait", " for it");
  if (rank.phase == Phase::kLeft) return absl::StrCat("it has ended its steps", who);
  if (rank.phase == Phase::kNotBegun) return absl::StrCat("it has not begun its steps", who);
  const std::string state = rank.process == Process::kRuns           ? "runs"
                            : rank.process == Process::kWaitsForDisk ? "waits for a disk"
                                                                     : "sleeps";
  return absl::StrCat("heartbeat alive, but in no operation for ", Seconds(rank.still_seconds), who,
                      ": ",
                      rank.phase == Phase::kBetweenSteps ? "after a part of step " : "in step ",
                      rank.step, " it computes, reads or writes (its main thread ", state, ")");
}

// "send of float32" -> "send", "float32"; the latter may be missing.
std::pair<absl::string_view, absl::string_view> OfWhat(absl::string_view name) {
  return absl::StrSplit(name, absl::MaxSplits(" of ", 1));
}

bool Differ(int64_t a, int64_t b) { return a > 0 && b > 0 && a != b; }

// The two ends of one operation; numbers count where both tell them. A message's call is one of its
// end's own.
bool Match(const Operation& a, const Operation& b) {
  if (a.over != b.over || Differ(a.bytes, b.bytes)) return false;
  if (a.peer < 0 || b.peer < 0) {
    return a.name == b.name && a.peer == b.peer && !Differ(a.call, b.call);
  }
  // One sends, one receives: "send of float32".
  const std::pair<absl::string_view, absl::string_view> of_a = OfWhat(a.name),
                                                        of_b = OfWhat(b.name);
  const bool differ = !of_a.second.empty() && !of_b.second.empty() && of_a.second != of_b.second;
  return of_a.first != of_b.first && !differ;
}

// Whether each waits for the other, and not in the same operation.
bool AreAtOdds(const RankSeen& a, const RankSeen& b) {
  if (!Needs(a, b.rank) || !Needs(b, a.rank)) return false;
  for (const std::string& of_a : a.operations) {
    for (const std::string& of_b : b.operations) {
      if (Match(ParseOperation(of_a), ParseOperation(of_b))) return false;
    }
  }
  return true;
}

std::string In(const RankSeen& rank) { return absl::StrJoin(rank.operations, " and "); }

std::string AtOdds(absl::Span<const RankSeen> ranks, const std::string& host) {
  for (const RankSeen& a : ranks) {
    for (const RankSeen& b : ranks) {
      if (a.rank >= b.rank || !AreAtOdds(a, b)) continue;
      return absl::StrCat(Who(a, host), " and ", Who(b, host),
                          " are to blame: they wait for each other in different operations: rank ",
                          a.rank, " in ", In(a), ", rank ", b.rank, " in ", In(b));
    }
  }
  return "";
}

std::string Nobody(absl::Span<const RankSeen> ranks, const std::string& host, int world_size) {
  std::set<int> here, elsewhere;
  for (const RankSeen& rank : ranks) here.insert(rank.rank);
  for (int rank = 0; rank < world_size; ++rank) {
    if (here.count(rank) == 0 && !WaitingFor(rank, ranks).empty()) elsewhere.insert(rank);
  }
  const std::string text =
      absl::StrCat("no rank of this host (", host, ": ", Ranks(here), ") is to blame: ");
  if (elsewhere.empty()) {
    const bool any = std::any_of(ranks.begin(), ranks.end(),
                                 [](const RankSeen& rank) { return !rank.operations.empty(); });
    return text +
           (any ? "each waits for another, in operations that fit" : "none waits for another");
  }
  return absl::StrCat(text, "they wait for ", Ranks(elsewhere), " of other hosts");
}

}  // namespace

bool Operation::Needs(int rank) const {
  if (peer >= 0) return rank == peer;
  return !names_all || std::find(ranks.begin(), ranks.end(), rank) != ranks.end();
}

Operation ParseOperation(const std::string& text) {
  Operation operation;
  const size_t open = text.find('['), close = text.rfind(']');
  operation.name = text.substr(0, open);
  operation.names_all = false;
  if (open == std::string::npos || close == std::string::npos || close < open) return operation;
  operation.over = text.substr(open + 1, close - open - 1);
  for (absl::string_view part : absl::StrSplit(text.substr(close + 1), ',')) {
    part = absl::StripAsciiWhitespace(part);
    if (absl::ConsumePrefix(&part, "with rank ")) (void)absl::SimpleAtoi(part, &operation.peer);
    if (absl::ConsumePrefix(&part, "call ")) (void)absl::SimpleAtoi(part, &operation.call);
    if (absl::ConsumeSuffix(&part, " bytes")) (void)absl::SimpleAtoi(part, &operation.bytes);
  }
  const size_t list = operation.over.rfind("ranks ");
  if (list == std::string::npos) return operation;  // "all ranks"
  operation.names_all = true;
  for (absl::string_view part : absl::StrSplit(operation.over.substr(list + 6), ", ")) {
    int rank = -1;
    if (absl::SimpleAtoi(part, &rank)) {
      operation.ranks.push_back(rank);
    } else {
      operation.names_all = false;  // "..."
    }
  }
  return operation;
}

std::string GoneRanks(absl::Span<const RankSeen> ranks, const std::string& host) {
  const Seen gone =
      Those(ranks, [](const RankSeen& rank) { return IsGone(rank) && !rank.has_told; });
  return Blame(gone, host, WhyGone);
}

std::string Verdict(absl::Span<const RankSeen> ranks, const std::string& host, int world_size) {
  if (const Seen gone = Those(ranks, IsGone); !gone.empty()) return Blame(gone, host, WhyGone);
  if (const Seen silent = Those(ranks, IsSilent); !silent.empty()) {
    return Blame(silent, host, WhySilent);
  }
  if (const Seen working = Working(ranks); !working.empty()) {
    return Blame(working, host, [&](const RankSeen& rank) { return WhyWorking(rank, ranks); });
  }
  if (std::string text = AtOdds(ranks, host); !text.empty()) return text;
  return Nobody(ranks, host, world_size);
}

}  // namespace fttrain
