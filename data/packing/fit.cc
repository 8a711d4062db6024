#include "data/packing/fit.h"

#include <algorithm>
#include <map>
#include <utility>

#include "runtime/process/check.h"

namespace fttrain {
namespace {

// Free tokens of every row in a tournament tree, so the first row with room is found in O(log n).
class FreeSpace {
 public:
  FreeSpace(int64_t max_rows, int64_t capacity) {
    while (leaves_ < max_rows) leaves_ *= 2;
    most_.assign(static_cast<size_t>(2 * leaves_), static_cast<int32_t>(capacity));
  }
  // Takes `length` from the first row that has it; every length is at most the capacity of an
  // unused row.
  int64_t Take(int32_t length) {
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
  std::vector<int32_t> most_;
};

int32_t LengthOf(int64_t example, const std::vector<int32_t>& lengths, int64_t capacity) {
  const int32_t length = lengths[static_cast<size_t>(example)];
  FT_CHECK(length >= 1 && length <= capacity, "length ", length, " capacity ", capacity);
  return length;
}

// Row row_of[i] gets order[i]. Counting sort by row keeps the order within a row.
EpochRows RowsBy(const std::vector<int32_t>& row_of, const std::vector<int64_t>& order,
                 int64_t num_rows) {
  EpochRows rows;
  rows.begin.assign(static_cast<size_t>(num_rows) + 1, 0);
  for (const int32_t row : row_of) ++rows.begin[static_cast<size_t>(row) + 1];
  for (size_t r = 1; r < rows.begin.size(); ++r) rows.begin[r] += rows.begin[r - 1];
  std::vector<int64_t> next(rows.begin.begin(), rows.begin.end() - 1);
  rows.examples.resize(order.size());
  for (size_t i = 0; i < order.size(); ++i) {
    rows.examples[static_cast<size_t>(next[static_cast<size_t>(row_of[i])]++)] = order[i];
  }
  return rows;
}

}  // namespace

EpochRows PackFirstFit(const std::vector<int32_t>& lengths, std::vector<int64_t> order,
                       int64_t capacity) {
  std::vector<int32_t> row_of(order.size());
  int32_t num_rows = 0;
  {
    FreeSpace free(static_cast<int64_t>(order.size()), capacity);
    for (size_t i = 0; i < order.size(); ++i) {
      row_of[i] = static_cast<int32_t>(free.Take(LengthOf(order[i], lengths, capacity)));
      num_rows = std::max(num_rows, row_of[i] + 1);
    }
  }
  return RowsBy(row_of, order, num_rows);
}

EpochRows PackBestFit(const std::vector<int32_t>& lengths, std::vector<int64_t> order,
                      int64_t capacity) {
  std::vector<int32_t> longest_first(order.size());
  for (size_t i = 0; i < order.size(); ++i) longest_first[i] = static_cast<int32_t>(i);
  const auto length_at = [&](int32_t i) {
    return LengthOf(order[static_cast<size_t>(i)], lengths, capacity);
  };
  std::stable_sort(longest_first.begin(), longest_first.end(),
                   [&](int32_t a, int32_t b) { return length_at(a) > length_at(b); });
  std::map<int32_t, std::vector<int32_t>> rows_with;  // free tokens -> rows, the newest last
  std::vector<int32_t> row_of(order.size());
  int32_t num_rows = 0;
  for (const int32_t i : longest_first) {
    const int32_t length = length_at(i);
    const auto fullest = rows_with.lower_bound(length);
    int32_t row = num_rows, free = static_cast<int32_t>(capacity);
    if (fullest == rows_with.end()) {
      ++num_rows;
    } else {
      free = fullest->first;
      row = fullest->second.back();
      fullest->second.pop_back();
      if (fullest->second.empty()) rows_with.erase(fullest);
    }
    row_of[static_cast<size_t>(i)] = row;
    if (free > length) rows_with[free - length].push_back(row);
  }
  // Rows were opened by length: a run would begin with its longest examples.
  std::vector<int32_t> number(static_cast<size_t>(num_rows), -1);
  int32_t seen = 0;
  for (int32_t& row : row_of) {
    int32_t& renamed = number[static_cast<size_t>(row)];
    if (renamed < 0) renamed = seen++;
    row = renamed;
  }
  return RowsBy(row_of, order, num_rows);
}

}  // namespace fttrain
