#include "data/packing/first_fit.h"

#include <algorithm>

#include "runtime/process/check.h"

namespace fttrain {
namespace {

// Free tokens of every row in a tournament tree, so the first row with room is found in O(log n).
class FreeSpace {
 public:
  FreeSpace(int64_t max_rows, int64_t capacity) {
    while (leaves_ < max_rows) leaves_ *= 2;
    most_.assign(static_cast<size_t>(2 * leaves_), capacity);
  }
  // Takes `length` from the first row that has it; every length is at most the capacity of an
  // unused row.
  int64_t Take(int64_t length) {
    int64_t node = 1;
    while (node < leaves_) node = most_[2 * node] >= length ? 2 * node : 2 * node + 1;
    const int64_t row = node - leaves_;
    most_[node] -= length;
    for (node /= 2; node >= 1; node /= 2)
      most_[node] = std::max(most_[2 * node], most_[2 * node + 1]);
    return row;
  }

 private:
  int64_t leaves_ = 1;
  std::vector<int64_t> most_;
};

}  // namespace

EpochRows PackFirstFit(const std::vector<int64_t>& lengths, const std::vector<int64_t>& order,
                       int64_t capacity) {
  FreeSpace free(static_cast<int64_t>(order.size()), capacity);
  std::vector<int64_t> row_of(order.size());
  int64_t num_rows = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    const int64_t length = lengths[static_cast<size_t>(order[i])];
    FT_CHECK(length >= 1 && length <= capacity, "length ", length, " capacity ", capacity);
    row_of[i] = free.Take(length);
    num_rows = std::max(num_rows, row_of[i] + 1);
  }
  // Counting sort by row keeps the order within a row.
  EpochRows rows;
  rows.begin = std::vector<int64_t>(static_cast<size_t>(num_rows) + 1, 0);
  for (const int64_t row : row_of) ++rows.begin[static_cast<size_t>(row) + 1];
  for (size_t r = 1; r < rows.begin.size(); ++r) rows.begin[r] += rows.begin[r - 1];
  std::vector<int64_t> next(rows.begin.begin(), rows.begin.end() - 1);
  rows.examples.resize(order.size());
  for (size_t i = 0; i < order.size(); ++i) {
    rows.examples[static_cast<size_t>(next[static_cast<size_t>(row_of[i])]++)] = order[i];
  }
  return rows;
}

}  // namespace fttrain
