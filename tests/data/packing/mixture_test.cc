#include "data/packing/mixture.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "data/packing/order.h"

namespace fttrain {
namespace {

using testing::ElementsAre;

std::map<int64_t, int> TimesOf(const Mixture& mixture, int64_t epochs) {
  std::map<int64_t, int> times;
  for (int64_t e = 0; e < epochs; ++e) {
    const std::vector<ExampleIndex> epoch = mixture.Epoch(e);
    EXPECT_EQ(static_cast<int64_t>(epoch.size()), mixture.SizeOf(e));
    for (const int64_t example : epoch) ++times[example];
  }
  return times;
}

TEST(Mixture, WithoutWeightsIsTheOrderOfTheEpoch) {
  const Mixture mixture({{7, 1}, {20, 1}}, 3, true);
  for (int64_t e = 0; e < 3; ++e) {
    const EpochOrder order(20, 3, e, true);
    const std::vector<ExampleIndex> epoch = mixture.Epoch(e);
    ASSERT_EQ(epoch.size(), 20u);
    for (int64_t i = 0; i < 20; ++i) EXPECT_EQ(epoch[static_cast<size_t>(i)], order[i]);
  }
}

TEST(Mixture, HasEachExampleAsOftenAsItsPartsWeightOverTheEpochs) {
  const Mixture mixture({{40, 0.25}, {50, 3}, {53, 1}, {60, 1.5}}, 11, true);
  for (const auto& [example, times] : TimesOf(mixture, 4)) {
    EXPECT_EQ(times, example < 40 ? 1 : example < 50 ? 12 : example < 53 ? 4 : 6) << example;
  }
  EXPECT_EQ(TimesOf(mixture, 4).size(), 60u);
  // Of no epoch more than the bound.
  for (int64_t e = 0; e < 6; ++e) {
    std::map<int64_t, int> times;
    for (const int64_t example : mixture.Epoch(e)) ++times[example];
    for (const auto& [example, count] : times) {
      EXPECT_LE(count, mixture.MostOf(example < 40 ? 0 : example < 50 ? 1 : example < 53 ? 2 : 3));
    }
  }
}

TEST(Mixture, IsAFunctionOfSeedAndEpoch) {
  const Mixture a({{10, 2}, {30, 1}}, 5, true), b({{10, 2}, {30, 1}}, 5, true),
      c({{10, 2}, {30, 1}}, 6, true);
  EXPECT_EQ(a.Epoch(7), b.Epoch(7));
  EXPECT_NE(a.Epoch(7), a.Epoch(8));
  EXPECT_NE(a.Epoch(7), c.Epoch(7));
}

TEST(Mixture, WithoutShuffleSpreadsFilesThroughEachOtherInTheirOrder) {
  const Mixture mixture({{2, 1}, {4, 2}}, 5, false);
  EXPECT_THAT(mixture.Epoch(0), ElementsAre(2, 0, 3, 2, 1, 3));
  const Mixture half({{2, 0.5}, {4, 1}}, 5, false);
  EXPECT_THAT(half.Epoch(0), ElementsAre(2, 0, 3));
  EXPECT_THAT(half.Epoch(1), ElementsAre(2, 1, 3));
}

}  // namespace
}  // namespace fttrain
