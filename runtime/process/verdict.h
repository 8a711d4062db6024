// Who holds up a job that stands still, from what the ranks of one host tell each other (board.h).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/span.h"

namespace fttrain {

// An operation between ranks, read from the text that OperationText makes of it.
struct Operation {
  std::string name;
  std::string over;            // "tp of ranks 0, 1"
  std::vector<int> ranks;      // of the job; those that the text names
  bool names_all = true;       // else it is over more ranks than it names
  int peer = -1;               // of the job; -1: no single one
  int64_t call = 0;            // its number among those over the same; 0: not told
  int64_t bytes = 0;           // 0: not told
  bool Needs(int rank) const;  // whether it ends only when this rank takes part
};
Operation ParseOperation(const std::string& text);

// A rank of this host as one of them sees it.
struct RankSeen {
  enum class Process { kRuns, kSleeps, kWaitsForDisk, kStopped, kGone };  // its main thread
  enum class Phase { kNotBegun, kInStep, kBetweenSteps, kLeft };

  int rank = 0;
  int64_t pid = 0;
  Process process = Process::kRuns;
  Phase phase = Phase::kInStep;
  int64_t step = 0;           // in which it is, or was last
  bool has_told = false;      // it said by itself why it ends
  double silent_seconds = 0;  // since its watchdog's last sign of life
  double still_seconds = 0;   // since something began or ended there, as its watchdog saw it
  std::vector<std::string> operations = {};  // it is in, in words; none: it works for itself
  std::string last = {};                     // the newest that its watchdog has seen it in
  double last_seconds = 0;                   // since then
};

// Ranks that are gone and have neither left nor told why: one sentence, empty if there are none.
// Pure, as is all that follows.
std::string GoneRanks(absl::Span<const RankSeen> ranks, const std::string& host);

// Who is to blame, or that nobody of this host is; in the order gone, stopped or silent, in no
// operation while others wait for it, in different operations. One line, the same for every rank
// that sees the same. `ranks`: all of the host.
std::string Verdict(absl::Span<const RankSeen> ranks, const std::string& host, int world_size);

}  // namespace fttrain
