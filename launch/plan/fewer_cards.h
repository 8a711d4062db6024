// Cards that a search leaves out: one that is much slower than the others, or one that makes their
// number one that few meshes divide. Pure but for what it is given to call.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "launch/plan/search.h"

namespace fttrain {

// Cards of one host, by rank, that may do better alone: without those of slower kinds; and of any
// number as many as a power of two. None of several hosts.
std::vector<std::vector<int>> CardsToTryAlone(const Rig& rig);

struct FewerCards {
  std::vector<int> cards;     // by their ranks in the rig
  Rig rig;                    // of them; what joins cards is as in the whole
  std::vector<int64_t> room;  // by rank
  Found found;
  std::string
      gain;  // "cards 0, 1 of 1 x ... alone (CUDA_VISIBLE_DEVICES=0,1): all of them take ..."
};

// The best of these where all cards, on which `all` was found, take longer by more than a fiftieth,
// or nothing fits on them. As SearchLayouts.
absl::StatusOr<std::optional<FewerCards>> SearchFewerCards(const SearchSpace& space,
                                                           const Found& all, size_t layouts,
                                                           const BytesOfRank& bytes_of);

}  // namespace fttrain
