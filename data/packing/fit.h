// Packing: examples of several lengths into rows of one capacity.
#pragma once

#include <cstdint>
#include <vector>

namespace fttrain {

// The rows of one epoch: row r holds examples[begin[r] .. begin[r + 1]), indices into the dataset.
struct EpochRows {
  std::vector<int64_t> examples;
  std::vector<int64_t> begin = {0};
  int64_t size() const { return static_cast<int64_t>(begin.size()) - 1; }
};

// First fit of `lengths[order[i]]`, i = 0, 1, ..., into rows of `capacity`, which no length
// exceeds. O(n log n).
EpochRows PackFirstFit(const std::vector<int64_t>& lengths, const std::vector<int64_t>& order,
                       int64_t capacity);

}  // namespace fttrain
