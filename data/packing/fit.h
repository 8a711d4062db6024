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
EpochRows PackFirstFit(const std::vector<int32_t>& lengths, std::vector<int64_t> order,
                       int64_t capacity);

// Best fit decreasing (Johnson, "Near-optimal bin packing algorithms", 1973): the longest first, of
// equal ones those that are first in `order`, each into the fullest row that has room for it.
// Within a row examples keep their order, and rows are in that of their first example. O(n log n).
EpochRows PackBestFit(const std::vector<int32_t>& lengths, std::vector<int64_t> order,
                      int64_t capacity);

}  // namespace fttrain
