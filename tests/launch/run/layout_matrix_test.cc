// Every combination of the layouts' keys works or is refused by the keys that contradict each
// other. every_layout_test.cc trains those that work.
#include "tests/launch/run/layout_matrix.h"

#include <gmock/gmock.h>

#include <set>

#include "tests/launch/run/planned_layout.h"

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
      EXPECT_THAT(std::string(plan.status().message()), HasSubstr(key));
    }
  }
  EXPECT_EQ(working, static_cast<int>(WorkingCombinations().size()));
  std::cout << working << " layouts work, " << refused << " are refused\n";
}

TEST(LayoutMatrix, AWorkingCombinationReachesTheModelAsItWasWritten) {
  for (const Combination& combination : WorkingCombinations()) {
    SCOPED_TRACE(ToString(combination));
    const auto plan = Plan(combination);
    ASSERT_TRUE(plan.ok()) << plan.status();
    const Layout& layout = plan->layout;
    EXPECT_EQ(plan->mesh.world_size(), combination.Ranks());
    EXPECT_EQ(plan->mesh.dp, combination.Number(kData));
    EXPECT_EQ(layout.zero_stage, combination.Number(kZeroStage));
    EXPECT_EQ(layout.sequence_parallel, combination.Is(kSequenceParallel, "true"));
    EXPECT_EQ(layout.pipeline == PipelineKind::kLayerMajor,
              combination.Is(kSchedule, "layer_major"));
    EXPECT_EQ(layout.pipeline == PipelineKind::kInterleaved,
              combination.Is(kSchedule, "interleaved"));
    EXPECT_EQ(layout.pipeline == PipelineKind::kGPipe, combination.Is(kSchedule, "gpipe"));
    EXPECT_EQ(layout.recompute == Recompute::kSmart, combination.Is(kRecompute, "smart"));
    EXPECT_EQ(layout.recompute == Recompute::kFull, combination.Is(kRecompute, "full"));
    EXPECT_EQ(layout.activations_on_host, combination.Is(kActivations, "host"));
    EXPECT_EQ(layout.frozen == FrozenPlace::kHost, combination.Is(kBaseWeights, "host"));
    EXPECT_EQ(plan->task.full, combination.Is(kMethod, "none"));
    EXPECT_EQ(plan->task.nf4, combination.Is(kMethod, "qlora"));
  }
}

using Value = std::pair<int, std::string>;  // axis, word

// Every three values of different axes.
std::set<std::array<Value, 3>> Triples(const std::vector<Combination>& combinations) {
  std::set<std::array<Value, 3>> triples;
  for (const Combination& c : combinations) {
    for (int i = 0; i < kNumAxes; ++i) {
      for (int j = i + 1; j < kNumAxes; ++j) {
        for (int k = j + 1; k < kNumAxes; ++k) {
          triples.insert({Value{i, c.words[i]}, Value{j, c.words[j]}, Value{k, c.words[k]}});
        }
      }
    }
  }
  return triples;
}

TEST(LayoutMatrix, TheSubsetThatIsAlwaysTrainedHasEveryThreeValuesTogether) {
  const std::vector<Combination> all = WorkingCombinations();
  const std::vector<Combination> subset = CoveringSubset(all, kCoveredTogether);
  EXPECT_EQ(Triples(subset), Triples(all));
  EXPECT_LT(subset.size(), all.size() / 50);
  std::cout << subset.size() << " of " << all.size() << " layouts have all " << Triples(all).size()
            << " triples\n";
}

}  // namespace
}  // namespace fttrain
