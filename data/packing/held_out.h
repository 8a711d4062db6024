// Examples that are held out of training, to be evaluated.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "data/text/example_list.h"

namespace fttrain {

// Takes this share of the rows out of `examples`, at least one, and returns their examples, in
// order: the same in every layout and of every run with this seed. A row is held out with all that
// became of it, such as the pieces of a text: neighbours that have one source. `ends`: examples of
// the files up to each, which follow. InvalidArgument where no row would be left to learn.
absl::StatusOr<ExampleList> HoldOut(double share, uint64_t seed, ExampleList& examples,
                                    std::vector<int64_t>& ends);

}  // namespace fttrain
