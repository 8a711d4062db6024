#include "data/packing/held_out.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "data/packing/order.h"

namespace fttrain {
namespace {

// Of a draw that no epoch's order has.
constexpr int64_t kDraw = std::numeric_limits<int64_t>::max();

int64_t CountRowsOf(const ExampleList& examples) {
  int64_t rows = 0;
  for (size_t i = 0; i < examples.size(); ++i) rows += examples.BeginsRow(i) ? 1 : 0;
  return rows;
}

}  // namespace

absl::StatusOr<ExampleList> HoldOut(double share, uint64_t seed, ExampleList& examples,
                                    std::vector<int64_t>& ends) {
  const int64_t count = CountRowsOf(examples);
  const int64_t taken = std::max<int64_t>(1, std::llround(share * static_cast<double>(count)));
  if (taken >= count) {
    return absl::InvalidArgumentError(absl::StrCat("'data.eval_fraction' ", share, " of ", count,
                                                   count == 1 ? " row" : " rows",
                                                   " leaves none to learn"));
  }
  const EpochOrder order(count, seed, kDraw, /*shuffle=*/true);
  std::vector<bool> is_held(static_cast<size_t>(count), false);
  for (int64_t i = 0; i < taken; ++i) is_held[static_cast<size_t>(order[i])] = true;
  std::vector<bool> is_left(examples.size()), is_taken(examples.size());
  std::vector<int64_t> left(ends.size(), 0);  // of the examples before each end
  int64_t row = -1, lefts = 0;
  size_t file = 0;
  for (size_t i = 0; i < examples.size(); ++i) {
    row += examples.BeginsRow(i) ? 1 : 0;
    is_taken[i] = is_held[static_cast<size_t>(row)];
    is_left[i] = !is_taken[i];
    for (; file < ends.size() && ends[file] <= static_cast<int64_t>(i); ++file) left[file] = lefts;
    lefts += is_left[i] ? 1 : 0;
  }
  for (; file < ends.size(); ++file) left[file] = lefts;
  ExampleList held = examples.Only(is_taken);
  examples = examples.Only(is_left);
  ends = std::move(left);
  return held;
}

}  // namespace fttrain
