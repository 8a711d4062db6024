// The best layouts of a task on a rig: candidates in the order of their predicted time, of which a
// rehearsal says whether they fit. Pure but for what it is given to call.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "launch/plan/candidates.h"

namespace fttrain {

// What a rank of a task in a layout needs, exactly (launch/run/memory_need.h).
using BytesOfRank = std::function<absl::StatusOr<RankBytes>(const Task&, const Layout&, int rank)>;

struct FoundLayout {
  Candidate candidate;            // its time has its stages
  std::vector<RankBytes> needed;  // by stage, of the rank that needs most; 0: not rehearsed
  bool fits = false;
  bool host_is_full = false;  // that is why it does not
};

struct Found {
  // The fastest of each mesh that fits, the fastest first.
  std::vector<FoundLayout> fits;
  // Of each other mesh what was nearest.
  std::vector<FoundLayout> too_big;
  int64_t considered = 0, rehearsed = 0;  // layouts
};

// Those ranks of a stage of which one needs most: the first of its tensor ranks, which has the
// larger part of an uneven vocabulary, and the first of its replicas; with 8-bit moments in shards
// the last of them, too.
std::vector<int> FullestRanks(const Layout& layout, MomentStorage moments, int stage);

// At most `layouts` that fit. Errors as `bytes_of`'s, and InvalidArgument where the keys that are
// kept leave no layout.
absl::StatusOr<Found> SearchLayouts(const SearchSpace& space, size_t layouts,
                                    const BytesOfRank& bytes_of);

// Rows, in tokens, that fit in a layout, and the shortest that were tried and do not; 0: all that
// the model has positions for fit, or the task's rows, which are longer than that.
struct LongestFit {
  int64_t tokens = 0, too_long = 0;
};
// By powers of two, then to a sixteenth or 64 tokens: each length is a rehearsal, so what lies
// between is not tried. Of a layout in which the task's rows fit.
absl::StatusOr<LongestFit> LongestRows(const SearchSpace& space, const FoundLayout& layout,
                                       const BytesOfRank& bytes_of);

// Why the first of what fits is the first, in a sentence; or that none does.
std::string ReasonFor(const Found& found);

}  // namespace fttrain
