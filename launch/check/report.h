// What a dry run tells: its stages, what they foresaw of the run, and what is strange. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace fttrain {

struct StageSeen {
  std::string name;
  double seconds = 0;
  bool ok = true;
  std::string text;  // what was seen, on one line; of a stage that failed the error
};

// Tracked bytes of a rank's device in the steps, as foretold and as measured.
struct PeakSeen {
  int rank = 0;
  int64_t planned = -1, measured = 0;  // planned -1: it could not be rehearsed
  bool equal = false;                  // IsAsPlanned (trial.h)
};

struct CheckReport {
  std::vector<StageSeen> stages;
  std::vector<std::string> warnings;
  std::vector<PeakSeen> peaks;
  int64_t memory_bytes = 0;      // that rank 0 may use; 0: not known
  double tokens_per_second = 0;  // of all ranks
  // Of the whole run, about; 0 where it is not known.
  int64_t steps = 0;
  double run_tokens = 0;

  double RunSeconds() const { return tokens_per_second > 0 ? run_tokens / tokens_per_second : 0; }
  bool Passed() const;
};

// A line a stage, then memory, speed and the warnings. Ends without a newline.
std::string CheckText(const CheckReport& report);
// {"passed": B, "stages": [{"stage", "seconds", "ok", "text"}], "memory": {"limit": N, "ranks":
// [{"rank", "planned", "measured", "equal"}]}, "tokens_per_second", "run": {"steps", "tokens",
// "seconds"}, "warnings": [...]}.
std::string CheckJson(const CheckReport& report);

}  // namespace fttrain
