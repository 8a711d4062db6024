// A search for layouts (launch/plan/search.h) with rehearsals as its judge.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "launch/plan/search.h"

namespace fttrain {

struct RigSearch {
  Found found;
  std::string reason;
  int64_t longest_sequence_len = 0;  // in the first layout; 0 where none fits
  FoundLayout chosen;                // the first, or what lacks least
  // Where nothing fits: keys that would help beyond those that were searched (Levers).
  std::string help;
};

// As SearchLayouts, with at most five layouts.
absl::StatusOr<RigSearch> SearchRig(const SearchSpace& space);

}  // namespace fttrain
