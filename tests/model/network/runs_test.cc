#include "model/network/runs.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "tests/model/tiny_llama.h"

namespace fttrain {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

// A layer has 32 * (2 * 32 + 2 * 16 + 3 * 48) = 7680 elements: as many as the head with a
// vocabulary of 240.
ModelSpec Model(int layers, int64_t vocab) {
  LlamaShape shape = TinyLlama(layers);
  shape.head_dim = 8;
  shape.vocab_size = vocab;
  return LlamaLike(shape);
}

TEST(BalancedRuns, GiveTheHeadsRunAsManyLayersFewerAsItCosts) {
  EXPECT_THAT(BalancedRuns(Model(8, 1), 2), ElementsAre(4, 4));
  EXPECT_THAT(BalancedRuns(Model(8, 480), 2), ElementsAre(5, 3));
  EXPECT_THAT(BalancedRuns(Model(30, 8 * 240), 2), ElementsAre(19, 11));
  EXPECT_THAT(BalancedRuns(Model(14, 2 * 240), 4), ElementsAre(4, 4, 4, 2));
}

TEST(BalancedRuns, GiveLaterRunsTheLayersThatAreLeftOver) {
  EXPECT_THAT(BalancedRuns(Model(10, 0), 4), ElementsAre(2, 2, 3, 3));
  EXPECT_THAT(BalancedRuns(Model(7, 240), 3), ElementsAre(2, 3, 2));
}

TEST(BalancedRuns, LeaveNoRunEmptyAndNoRunCostsMoreThanItMust) {
  for (int layers = 1; layers <= 12; ++layers) {
    for (int runs = 1; runs <= layers; ++runs) {
      for (const int head : {0, 1, 3, 20}) {
        const std::vector<int> counts = BalancedRuns(Model(layers, head * 240), runs);
        EXPECT_EQ(static_cast<int>(counts.size()), runs);
        EXPECT_EQ(std::accumulate(counts.begin(), counts.end(), 0), layers);
        EXPECT_GE(*std::min_element(counts.begin(), counts.end()), 1);
        const int cost =
            std::max(*std::max_element(counts.begin(), counts.end()), counts.back() + head);
        const int must = std::max((layers + head + runs - 1) / runs, 1 + head);
        EXPECT_EQ(cost, must) << layers << " layers, " << runs << " runs, head " << head;
      }
    }
  }
}

TEST(CheckRuns, SaysWhatDoesNotAddUp) {
  const ModelSpec model = Model(8, 1);
  EXPECT_TRUE(CheckRuns({5, 3}, model, 2).ok());
  EXPECT_THAT(CheckRuns({4, 4}, model, 4).ToString(), HasSubstr("has 2 entries, but there are 4"));
  EXPECT_THAT(CheckRuns({8, 0}, model, 2).ToString(), HasSubstr("an entry below 1"));
  EXPECT_THAT(CheckRuns({4, 5}, model, 2).ToString(),
              HasSubstr("[4, 5] sums to 9, but the model has 8 layers; balanced: [4, 4]"));
}

TEST(RunsOfStage, DealsRunsToStagesInTurn) {
  const std::vector<int> layers = {2, 1, 3, 2};
  EXPECT_EQ(ToString(RunsOfStage(layers, 2, 0)), "embedding, layers 0-1, 3-5");
  EXPECT_EQ(ToString(RunsOfStage(layers, 2, 1)), "layers 2, 6-7, head");
  EXPECT_EQ(ToString(RunsOfStage(layers, 4, 3)), "layers 6-7, head");
  EXPECT_EQ(ToString(RunsOfStage({8}, 1, 0)), "embedding, layers 0-7, head");
}

}  // namespace
}  // namespace fttrain
