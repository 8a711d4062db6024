// A search for layouts (launch/plan/search.h) with rehearsals as its judge.
#pragma once

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "launch/plan/fewer_cards.h"
#include "launch/run/build.h"

namespace fttrain {

struct RigSearch {
  Found found;
  std::optional<FewerCards> fewer;  // where some of the cards do better, to which the rest belongs
  std::string reason;
  LongestFit longest;  // in the first layout; 0 where none fits
  FoundLayout chosen;  // the first, or what lacks least
  // Where nothing fits: keys that would help beyond those that were searched (Levers).
  std::string help;
};

// As SearchLayouts and SearchFewerCards, with at most five layouts. `beside` as RehearseFullRows'.
absl::StatusOr<RigSearch> SearchRig(const SearchSpace& space, const JobInputs& beside = {});

}  // namespace fttrain
