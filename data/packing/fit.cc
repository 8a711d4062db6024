#include "data/packing/fit.h"

#include <algorithm>
#include <bit>
#include <optional>
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
    for (node /= 2; node >= 1; node /= 2) {
      const int32_t most = std::max(most_[2 * node], most_[2 * node + 1]);
      if (most == most_[node]) break;
      most_[node] = most;
    }
    return row;
  }

 private:
  int64_t leaves_ = 1;
  std::vector<int32_t> most_;
};

// Rows by their free tokens: of equal ones the newest is taken first.
class RowsWithRoom {
 public:
  explicit RowsWithRoom(int64_t capacity)
      : newest_(static_cast<size_t>(capacity), -1),
        there_(static_cast<size_t>(capacity / 64 + 1), 0) {}

  // `row` is the next new one, or one that was taken.
  void Put(int32_t row, int32_t free) {
    if (static_cast<size_t>(row) == before_.size()) before_.push_back(-1);
    before_[static_cast<size_t>(row)] = std::exchange(newest_[static_cast<size_t>(free)], row);
    there_[static_cast<size_t>(free / 64)] |= uint64_t{1} << (free % 64);
  }
  // The fullest of those with `length` free; null where there is none. `free` of it.
  std::optional<int32_t> Take(int32_t length, int32_t* free) {
    auto word = static_cast<size_t>(length / 64);
    if (word >= there_.size()) return std::nullopt;
    uint64_t bits = there_[word] & (~uint64_t{0} << (length % 64));
    while (bits == 0) {
      if (++word == there_.size()) return std::nullopt;
      bits = there_[word];
    }
    *free = static_cast<int32_t>(word * 64) + std::countr_zero(bits);
    int32_t& newest = newest_[static_cast<size_t>(*free)];
    const int32_t row = std::exchange(newest, before_[static_cast<size_t>(newest)]);
    if (newest < 0) there_[word] &= ~(uint64_t{1} << (*free % 64));
    return row;
  }

 private:
  std::vector<int32_t> newest_;  // by free tokens, below the capacity; -1: none
  std::vector<int32_t> before_;  // by row: the next newest with as much
  std::vector<uint64_t> there_;  // a bit for each of newest_
};

int32_t LengthOf(ExampleIndex example, const std::vector<int32_t>& lengths, int64_t capacity) {
  const int32_t length = lengths[example];
  FT_CHECK(length >= 1 && length <= capacity, "length ", length, " capacity ", capacity);
  return length;
}

// Row row_of[i] gets order[i]. Counting sort by row keeps the order within a row.
EpochRows RowsBy(const std::vector<int32_t>& row_of, const std::vector<ExampleIndex>& order,
                 int64_t num_rows) {
  EpochRows rows;
  rows.begin.assign(static_cast<size_t>(num_rows) + 1, 0);
  for (const int32_t row : row_of) ++rows.begin[static_cast<size_t>(row) + 1];
  for (size_t r = 1; r < rows.begin.size(); ++r) rows.begin[r] += rows.begin[r - 1];
  std::vector<ExampleIndex> next(rows.begin.begin(), rows.begin.end() - 1);
  rows.examples.resize(order.size());
  for (size_t i = 0; i < order.size(); ++i) {
    rows.examples[next[static_cast<size_t>(row_of[i])]++] = order[i];
  }
  return rows;
}

// Places in `order`, the longest example's first, of equal ones in their order. A counting sort.
std::vector<ExampleIndex> LongestFirst(const std::vector<int32_t>& lengths,
                                       const std::vector<ExampleIndex>& order, int64_t capacity) {
  std::vector<ExampleIndex> begin(static_cast<size_t>(capacity) + 1, 0);  // [capacity - length]
  for (const ExampleIndex example : order) {
    ++begin[static_cast<size_t>(capacity - LengthOf(example, lengths, capacity)) + 1];
  }
  for (size_t k = 1; k < begin.size(); ++k) begin[k] += begin[k - 1];
  std::vector<ExampleIndex> places(order.size());
  for (size_t i = 0; i < order.size(); ++i) {
    places[begin[static_cast<size_t>(capacity - lengths[order[i]])]++] =
        static_cast<ExampleIndex>(i);
  }
  return places;
}

// Renames rows by their first examples: they were opened by length, and a run would begin with its
// longest.
void NumberByFirst(std::vector<int32_t>& row_of, int32_t num_rows) {
  std::vector<int32_t> number(static_cast<size_t>(num_rows), -1);
  int32_t seen = 0;
  for (int32_t& row : row_of) {
    int32_t& renamed = number[static_cast<size_t>(row)];
    if (renamed < 0) renamed = seen++;
    row = renamed;
  }
}

}  // namespace

int64_t MostThatFit(const std::vector<int64_t>& count_of, int64_t capacity) {
  int64_t most = 0, left = capacity;
  for (int64_t length = 1; length < static_cast<int64_t>(count_of.size()); ++length) {
    const int64_t count = count_of[static_cast<size_t>(length)];
    const int64_t fit = std::min(count, left / length);
    most += fit;
    left -= fit * length;
    if (fit < count) break;
  }
  return most;
}

EpochRows PackFirstFit(const std::vector<int32_t>& lengths, const std::vector<ExampleIndex>& order,
                       int64_t capacity) {
  // Of two rows the second began with what the first had no room for: but for the last, they are
  // more than half full.
  int64_t tokens = 0;
  for (const ExampleIndex example : order) tokens += LengthOf(example, lengths, capacity);
  const int64_t most = std::min(static_cast<int64_t>(order.size()), 2 * tokens / capacity + 1);
  FreeSpace free(most, capacity);
  std::vector<int32_t> row_of(order.size());
  int32_t num_rows = 0;
  for (size_t i = 0; i < order.size(); ++i) {
    row_of[i] = static_cast<int32_t>(free.Take(lengths[order[i]]));
    num_rows = std::max(num_rows, row_of[i] + 1);
  }
  return RowsBy(row_of, order, num_rows);
}

EpochRows PackBestFit(const std::vector<int32_t>& lengths, const std::vector<ExampleIndex>& order,
                      int64_t capacity) {
  RowsWithRoom rooms(capacity);
  std::vector<int32_t> row_of(order.size());
  int32_t num_rows = 0;
  for (const ExampleIndex place : LongestFirst(lengths, order, capacity)) {
    const int32_t length = lengths[order[place]];
    auto free = static_cast<int32_t>(capacity);
    const std::optional<int32_t> fullest = rooms.Take(length, &free);
    const int32_t row = fullest ? *fullest : num_rows++;
    row_of[place] = row;
    rooms.Put(row, free - length);
  }
  NumberByFirst(row_of, num_rows);
  return RowsBy(row_of, order, num_rows);
}

}  // namespace fttrain
