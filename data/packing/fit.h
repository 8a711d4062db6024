// Packing: examples of several lengths into rows of one capacity.
#pragma once

#include <cstdint>
#include <vector>

#include "data/text/example.h"

namespace fttrain {

// The rows of one epoch: row r holds examples[begin[r] .. begin[r + 1]), indices into the dataset.
struct EpochRows {
  std::vector<ExampleIndex> examples;
  std::vector<ExampleIndex> begin = {0};
  int64_t size() const { return static_cast<int64_t>(begin.size()) - 1; }
};

// First fit of `lengths[order[i]]`, i = 0, 1, ..., into rows of `capacity`, which no length
// exceeds. O(n log n).
EpochRows PackFirstFit(const std::vector<int32_t>& lengths, const std::vector<ExampleIndex>& order,
                       int64_t capacity);

// Best fit decreasing (Johnson, "Near-optimal bin packing algorithms", 1973): the longest first, of
// equal ones those that are first in `order`, each into the fullest row that has room for it.
// Within a row examples keep their order, and rows are in that of their first example.
// O(n + capacity), but for words of free rows that are looked through: n capacity / 64 at worst.
EpochRows PackBestFit(const std::vector<int32_t>& lengths, const std::vector<ExampleIndex>& order,
                      int64_t capacity);

// How many fit into one row, where there are count_of[l] of length l: the shortest.
int64_t MostThatFit(const std::vector<int64_t>& count_of, int64_t capacity);

}  // namespace fttrain
