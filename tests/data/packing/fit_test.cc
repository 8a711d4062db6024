#include "data/packing/fit.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "data/packing/order.h"

namespace fttrain {
namespace {

using testing::ElementsAre;

TEST(PackFirstFit, PutsEachDocumentIntoTheFirstRowWithRoom) {
  const EpochRows rows = PackFirstFit({6, 5, 4, 3, 2, 7}, {0, 1, 2, 3, 4, 5}, 10);
  EXPECT_THAT(rows.examples, ElementsAre(0, 2, 1, 3, 4, 5));  // rows {6 4}, {5 3 2}, {7}
  EXPECT_THAT(rows.begin, ElementsAre(0, 2, 5, 6));
}

TEST(PackFirstFit, EqualsTheNaiveSearchAndNeverSplitsDropsOrOverfills) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const int64_t capacity = 1 + static_cast<int64_t>(seed) % 40,
                  n = 1 + static_cast<int64_t>(seed * 13) % 150;
    const EpochOrder random(1 << 20, seed, 0, true), shuffled(n, seed, 1, true);
    std::vector<int32_t> lengths;
    std::vector<ExampleIndex> order;
    std::vector<int64_t> room;
    std::vector<std::vector<ExampleIndex>> want;
    for (int64_t i = 0; i < n; ++i) {
      lengths.push_back(static_cast<int32_t>(1 + random[i] % capacity));
      order.push_back(static_cast<ExampleIndex>(shuffled[i]));
    }
    for (const ExampleIndex example : order) {
      const int64_t length = lengths[example];
      size_t row = 0;
      while (row < room.size() && room[row] < length) ++row;
      if (row == room.size()) {
        room.push_back(capacity);
        want.emplace_back();
      }
      room[row] -= length;
      want[row].push_back(example);
    }
    const EpochRows rows = PackFirstFit(lengths, order, capacity);
    ASSERT_EQ(rows.size(), static_cast<int64_t>(want.size())) << "seed " << seed;
    for (size_t r = 0; r < want.size(); ++r) {
      const std::vector<ExampleIndex> got(rows.examples.begin() + rows.begin[r],
                                          rows.examples.begin() + rows.begin[r + 1]);
      EXPECT_EQ(got, want[r]) << "seed " << seed << " row " << r;
    }
  }
}

TEST(PackBestFit, PutsTheLongestFirstIntoTheFullestRowWithRoom) {
  // By length 7, 6, 5, 4, 3, 2: rows {7 3}, {6 4}, {5 2}, in the order of their first examples.
  const EpochRows rows = PackBestFit({6, 5, 4, 3, 2, 7}, {0, 1, 2, 3, 4, 5}, 10);
  EXPECT_THAT(rows.examples, ElementsAre(0, 2, 1, 4, 3, 5));
  EXPECT_THAT(rows.begin, ElementsAre(0, 2, 4, 6));
}

TEST(PackBestFit, TakesEqualLengthsInTheirOrder) {
  const EpochRows rows = PackBestFit({5, 5, 5, 5}, {2, 0, 3, 1}, 10);
  EXPECT_THAT(rows.examples, ElementsAre(2, 0, 3, 1));
  EXPECT_THAT(rows.begin, ElementsAre(0, 2, 4));
}

TEST(PackBestFit, EqualsTheNaiveSearch) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const int64_t capacity = 1 + static_cast<int64_t>(seed * 31) % 300, n = 150;
    const EpochOrder random(1 << 20, seed, 0, true), shuffled(n, seed, 1, true);
    std::vector<int32_t> lengths;
    for (int64_t i = 0; i < n; ++i)
      lengths.push_back(static_cast<int32_t>(1 + random[i] % capacity));
    std::vector<ExampleIndex> order = shuffled.All(), longest_first = order;
    std::stable_sort(longest_first.begin(), longest_first.end(),
                     [&](ExampleIndex a, ExampleIndex b) { return lengths[a] > lengths[b]; });
    // Free tokens, and when a row got them: of equally full rows the latest is taken.
    std::vector<std::pair<int64_t, int>> rows;
    std::vector<std::set<ExampleIndex>> want;
    for (int time = 0; time < n; ++time) {
      const ExampleIndex example = longest_first[static_cast<size_t>(time)];
      size_t best = rows.size();
      for (size_t r = 0; r < rows.size(); ++r) {
        if (rows[r].first < lengths[example]) continue;
        if (best == rows.size() || rows[r].first < rows[best].first ||
            (rows[r].first == rows[best].first && rows[r].second > rows[best].second)) {
          best = r;
        }
      }
      if (best == rows.size()) {
        rows.push_back({capacity, 0});
        want.emplace_back();
      }
      rows[best] = {rows[best].first - lengths[example], time};
      want[best].insert(example);
    }
    const EpochRows packed = PackBestFit(lengths, order, capacity);
    std::set<std::set<ExampleIndex>> got;
    for (int64_t r = 0; r < packed.size(); ++r) {
      got.insert({packed.examples.begin() + packed.begin[static_cast<size_t>(r)],
                  packed.examples.begin() + packed.begin[static_cast<size_t>(r) + 1]});
    }
    EXPECT_EQ(got, std::set<std::set<ExampleIndex>>(want.begin(), want.end())) << seed;
  }
}

TEST(PackBestFit, NeverSplitsDropsOrOverfillsAndKeepsTheOrderWithinARow) {
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const int64_t capacity = 1 + static_cast<int64_t>(seed) % 40,
                  n = 1 + static_cast<int64_t>(seed * 13) % 150;
    const EpochOrder random(1 << 20, seed, 0, true), shuffled(n, seed, 1, true);
    std::vector<int32_t> lengths;
    std::vector<ExampleIndex> order;
    std::vector<int64_t> place(static_cast<size_t>(n));
    int64_t tokens = 0;
    for (int64_t i = 0; i < n; ++i) {
      lengths.push_back(static_cast<int32_t>(1 + random[i] % capacity));
      tokens += lengths.back();
      order.push_back(static_cast<ExampleIndex>(shuffled[i]));
      place[static_cast<size_t>(shuffled[i])] = i;
    }
    const EpochRows rows = PackBestFit(lengths, order, capacity);
    std::vector<ExampleIndex> all = rows.examples;
    std::sort(all.begin(), all.end());
    for (int64_t i = 0; i < n; ++i) ASSERT_EQ(all[static_cast<size_t>(i)], i) << seed;
    int64_t first = -1;
    for (int64_t r = 0; r < rows.size(); ++r) {
      int64_t used = 0, before = -1;
      for (int64_t k = rows.begin[r]; k < rows.begin[r + 1]; ++k) {
        const auto example = static_cast<size_t>(rows.examples[k]);
        used += lengths[example];
        EXPECT_GT(place[example], before) << seed;
        if (before < 0) {
          EXPECT_GT(place[example], first) << seed;
          first = place[example];
        }
        before = place[example];
      }
      EXPECT_GE(used, 1);
      EXPECT_LE(used, capacity);
    }
    // The bound of best fit decreasing: 11/9 of the fewest rows and a little.
    const auto fewest = std::ceil(static_cast<double>(tokens) / static_cast<double>(capacity));
    EXPECT_LE(static_cast<double>(rows.size()), 2 * fewest + 1) << seed;
    EXPECT_LE(rows.size(), PackFirstFit(lengths, order, capacity).size() + 1) << seed;
  }
}

}  // namespace
}  // namespace fttrain
