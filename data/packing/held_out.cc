#include "data/packing/held_out.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "data/packing/order.h"

namespace fttrain {
namespace {

// Of a draw that no epoch's order has.
constexpr int64_t kDraw = std::numeric_limits<int64_t>::max();

// The row of each example, from 0 on.
std::vector<int64_t> RowsOf(const ExampleList& examples) {
  std::vector<int64_t> rows;
  rows.reserve(examples.size());
  std::string before;
  for (size_t i = 0; i < examples.size(); ++i) {
    std::string source = examples.SourceOf(i);
    const bool begins = i == 0 || source != before;
    rows.push_back(i == 0 ? 0 : rows.back() + (begins ? 1 : 0));
    before = std::move(source);
  }
  return rows;
}

}  // namespace

absl::StatusOr<ExampleList> HoldOut(double share, uint64_t seed, ExampleList& examples,
                                    std::vector<int64_t>& ends) {
  const std::vector<int64_t> rows = RowsOf(examples);
  const int64_t count = rows.empty() ? 0 : rows.back() + 1;
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
  std::vector<int64_t> left_before = {0};  // of the first examples
  for (size_t i = 0; i < examples.size(); ++i) {
    is_taken[i] = is_held[static_cast<size_t>(rows[i])];
    is_left[i] = !is_taken[i];
    left_before.push_back(left_before.back() + (is_left[i] ? 1 : 0));
  }
  ExampleList held = examples.Only(is_taken);
  examples = examples.Only(is_left);
  for (int64_t& end : ends) end = left_before[static_cast<size_t>(end)];
  return held;
}

}  // namespace fttrain
