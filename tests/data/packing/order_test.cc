#include "data/packing/order.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>
#include <vector>

namespace fttrain {
namespace {

std::vector<int64_t> All(const EpochOrder& order) {
  std::vector<int64_t> out;
  for (int64_t i = 0; i < order.size(); ++i) out.push_back(order[i]);
  return out;
}

std::vector<int64_t> Iota(int64_t n) {
  std::vector<int64_t> out(static_cast<size_t>(n));
  std::iota(out.begin(), out.end(), 0);
  return out;
}

TEST(EpochOrder, IsABijectionForEverySize) {
  for (int64_t n = 1; n <= 300; ++n) {
    for (const int64_t epoch : {0, 1, 7}) {
      EXPECT_THAT(All(EpochOrder(n, 42, epoch, true)), testing::UnorderedElementsAreArray(Iota(n)))
          << "size " << n << " epoch " << epoch;
    }
  }
  std::vector<bool> seen(100003, false);
  for (const int64_t x : All(EpochOrder(100003, 42, 0, true))) {
    EXPECT_FALSE(seen[static_cast<size_t>(x)]) << x;
    seen[static_cast<size_t>(x)] = true;
  }
}

TEST(EpochOrder, AllAtOnceIsEachByItself) {
  for (const bool shuffle : {true, false}) {
    for (const int64_t n : {0, 1, 3, 4, 7, 8, 9, 65, 257, 5000}) {
      const EpochOrder order(n, 42, 3, shuffle);
      EXPECT_THAT(order.All(), testing::ElementsAreArray(All(order))) << n;
    }
  }
}

TEST(EpochOrder, WithoutShuffleIsTheFileOrder) {
  EXPECT_EQ(All(EpochOrder(50, 42, 3, false)), Iota(50));
}

TEST(EpochOrder, DependsOnSeedAndEpochAlone) {
  const auto order = All(EpochOrder(1000, 42, 0, true));
  EXPECT_EQ(All(EpochOrder(1000, 42, 0, true)), order);
  EXPECT_NE(All(EpochOrder(1000, 42, 1, true)), order);
  EXPECT_NE(All(EpochOrder(1000, 43, 0, true)), order);
  EXPECT_NE(order, Iota(1000));
}

// Over many epochs each example is first about equally often, and successors scatter: a shuffle,
// not a rotation.
TEST(EpochOrder, EveryExampleIsFirstAboutEquallyOften) {
  constexpr int kSize = 10, kEpochs = 20000;
  std::vector<int> first(kSize, 0), gap(kSize, 0);
  for (int epoch = 0; epoch < kEpochs; ++epoch) {
    const EpochOrder order(kSize, 5, epoch, true);
    ++first[static_cast<size_t>(order[0])];
    ++gap[static_cast<size_t>((order[1] - order[0] + kSize) % kSize)];
  }
  // Six standard deviations of a binomial with p = 1/10, and 1/9 for the gaps.
  for (const int count : first) EXPECT_NEAR(count, kEpochs / 10, 6 * 42.5);
  EXPECT_EQ(gap[0], 0);
  for (int g = 1; g < kSize; ++g) EXPECT_NEAR(gap[static_cast<size_t>(g)], kEpochs / 9, 6 * 44.5);
}

// Checkpoints store positions, not permutations: the order of a seed must never change.
TEST(EpochOrder, IsPinnedAcrossVersions) {
  EXPECT_THAT(All(EpochOrder(12, 42, 0, true)),
              testing::ElementsAre(8, 11, 0, 4, 2, 1, 3, 9, 7, 6, 5, 10));
}

}  // namespace
}  // namespace fttrain
