// Every combination of the layouts' keys works or is refused by the keys that contradict each
// other. every_layout_test.cc trains those that work.
#include "tests/launch/run/layout_matrix.h"

#include <gmock/gmock.h>

#include <algorithm>

#include "tests/launch/run/planned_layout.h"
#include "tests/status_text.h"

namespace fttrain {
namespace {

using ::testing::HasSubstr;

TEST(LayoutMatrix, IsRefusedWhereItsKeysContradictEachOtherByTheirNamesAndNowhereElse) {
  int refused = 0, working = 0;
  for (const Combination& combination : AllCombinations()) {
    SCOPED_TRACE(ToString(combination));
    const auto plan = Plan(combination);
    const std::vector<std::string> keys = ContradictingKeys(combination);
    ASSERT_EQ(plan.ok(), keys.empty()) << plan.status();
    ++(plan.ok() ? working : refused);
    if (plan.ok()) continue;
    EXPECT_EQ(plan.status().code(), absl::StatusCode::kInvalidArgument);
    for (const std::string& key : keys) {
      EXPECT_THAT(ErrorText(plan), HasSubstr(key));
    }
  }
  EXPECT_EQ(working, static_cast<int>(WorkingCombinations().size()));
  std::cout << working << " layouts work, " << refused << " are refused\n";
}

TEST(LayoutMatrix, EveryThreeValuesThatWorkTogetherAreDrawnTogether) {
  EXPECT_EQ(Triples(WorkingCombinations()), WorkingTriples());
}

TEST(LayoutMatrix, TheSubsetThatIsAlwaysTrainedHasEveryThreeValuesTogether) {
  const std::vector<Combination> all = WorkingCombinations();
  const std::vector<Combination> subset = CoveringSubset(all);
  EXPECT_EQ(Triples(subset), WorkingTriples());
  EXPECT_LT(subset.size(), all.size() / 50);
  // Models with sinks, whole and adapted, and adapters on experts of both kinds of files.
  const auto some = [&](const auto& is) { return std::any_of(subset.begin(), subset.end(), is); };
  EXPECT_TRUE(some([](const Combination& c) { return c.sinks && c.Is(kMethod, "none"); }));
  EXPECT_TRUE(some([](const Combination& c) { return c.sinks && c.Is(kMethod, "qlora"); }));
  EXPECT_TRUE(some([](const Combination& c) { return c.sinks && c.adapts_experts; }));
  EXPECT_TRUE(some([](const Combination& c) { return !c.sinks && c.adapts_experts; }));
  for (const int ranks : {2, 4, 8}) {
    EXPECT_TRUE(some([&](const Combination& c) { return c.divides_experts && c.Ranks() == ranks; }))
        << ranks;
  }
  for (const char* method : {"lora", "qlora", "none"}) {
    EXPECT_TRUE(some([&](const Combination& c) {
      return c.divides_experts && c.Is(kMethod, method);
    })) << method;
  }
  // Routers with a loss, over pipelines and in every way of sharing a layer (of gpipe:
  // expert_parallel_test.cc).
  const auto balanced = [&](MatrixAxis axis, const char* word) {
    return some([&](const Combination& c) { return c.balances && c.Is(axis, word); });
  };
  for (const char* schedule : {"1f1b", "interleaved"}) {
    EXPECT_TRUE(some([&](const Combination& c) {
      return c.balances && c.Is(kSchedule, schedule) && !c.Is(kPipeline, "1");
    })) << schedule;
  }
  EXPECT_TRUE(balanced(kSchedule, "layer_major"));
  EXPECT_TRUE(balanced(kSequenceParallel, "true") && balanced(kSequenceParallel, "false"));
  for (const char* method : {"lora", "qlora", "none"})
    EXPECT_TRUE(balanced(kMethod, method)) << method;
  for (const char* level : {"none", "smart", "full"})
    EXPECT_TRUE(balanced(kRecompute, level)) << level;
  for (const char* place : {"device", "host", "disk"})
    EXPECT_TRUE(balanced(kBaseWeights, place)) << place;
  EXPECT_TRUE(balanced(kActivations, "host") && balanced(kZeroStage, "3"));
  EXPECT_TRUE(some([](const Combination& c) { return c.balances && c.divides_experts; }));
  EXPECT_TRUE(some([](const Combination& c) { return c.balances && c.sinks; }));
  EXPECT_TRUE(some([](const Combination& c) { return c.balances && c.adapts_experts; }));
  EXPECT_TRUE(some([](const Combination& c) { return c.balances && c.rows_of_a_microbatch == 2; }));
  // Without a loss those of latents.
  EXPECT_TRUE(some([](const Combination& c) { return c.experts && !c.balances; }));
  std::cout << subset.size() << " of " << all.size() << " layouts have all "
            << WorkingTriples().size() << " triples\n";
}

}  // namespace
}  // namespace fttrain
