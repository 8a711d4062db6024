#include "launch/verify/report.h"

#include <gmock/gmock.h>

#include <limits>

#include "absl/strings/str_cat.h"

namespace fttrain {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::string TextOf(const Comparison& comparison) {
  const auto verdict = Verdict(comparison, "tp 2 x pp 1 x dp 1", "one rank");
  EXPECT_EQ(verdict.status().code(), absl::StatusCode::kAborted);
  return std::string(verdict.status().message());
}

Deviation ReplicaOf(const std::string& name, int64_t step, std::vector<int> wrong,
                    std::vector<int> right) {
  return {.step = step,
          .what = "values",
          .name = name,
          .ranks = std::move(wrong),
          .right_ranks = std::move(right)};
}

TEST(Verdict, SaysHowCloselyRunsAreEqual) {
  Comparison comparison{.steps = {{.step = 1, .loss = 2.0, .reference_loss = 2.0}},
                        .tolerances = {.gradient = 1e-4, .update = 2e-4}};
  EXPECT_EQ(
      Verdict(comparison, "tp 2", "one rank").value(),
      "verify: tp 2 equals one rank: gradients within 0.0001, updates within 0.0002, replicas "
      "bit for bit, over 1 steps");
  comparison.tolerances.own_errors = 8;
  EXPECT_THAT(Verdict(comparison, "tp 2", "one rank").value(),
              HasSubstr("within 0.0001 + 8 times bfloat16's own error, updates"));
}

TEST(Verdict, NamesReplicasFirstThenTheEarliestStepAndTheLargestError) {
  Comparison comparison;
  comparison.deviations = {{2, "update", "b", 0.5, 0.1, {1}},
                           {1, "gradient", "a", 0.2, 0.1, {0, 1}},
                           {1, "loss", "", 0.7, 0.1, {}},
                           ReplicaOf("c", /*step=*/0, {3}, {0, 1})};
  EXPECT_EQ(TextOf(comparison),
            "verify: tp 2 x pp 1 x dp 1 does not train as the reference does; 4 differences beyond "
            "rounding, do not train with it\n"
            "as loaded: values of c on rank 3 differ from those on ranks 0, 1, which should be the "
            "same bits\n"
            "step 1: loss is off by 0.7 of its size, 0.1 allowed\n"
            "step 1: gradient of a on ranks 0, 1 is off by 0.2 of its size, 0.1 allowed\n"
            "step 2: update of b on rank 1 is off by 0.5 of its size, 0.1 allowed");
}

TEST(Verdict, TellsHowManyMoreThereAre) {
  Comparison comparison;
  for (int i = 0; i < 30; ++i) {
    comparison.deviations.push_back({1, "gradient", absl::StrCat("p", i), 1.0, 0.1, {0}});
    comparison.deviations.push_back(ReplicaOf(absl::StrCat("r", i), /*step=*/1, {1}, {0}));
  }
  EXPECT_THAT(TextOf(comparison), AllOf(HasSubstr("60 differences"), HasSubstr("of r7 on"),
                                        HasSubstr("of p7 on"), HasSubstr("\nand 44 more")));
}

TEST(RelativeError, IsInfiniteForWhatIsNotANumber) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_DOUBLE_EQ(RelativeError(0.5, -2.0), 0.25);
  EXPECT_EQ(RelativeError(0.0, 0.0), 0.0);
  EXPECT_EQ(RelativeError(1.0, 0.0), infinity);
  EXPECT_EQ(RelativeError(nan, 1.0), infinity);
  EXPECT_EQ(RelativeError(1.0, nan), infinity);
}

TEST(TableLine, SaysWhichStepsReplicasDiffer) {
  const std::vector<Deviation> deviations = {ReplicaOf("a", /*step=*/2, {1}, {0}),
                                             {1, "gradient", "b", 0.2, 0.1, {0}}};
  EXPECT_THAT(TableLine({.step = 1}, deviations), HasSubstr(" equal "));
  EXPECT_THAT(TableLine({.step = 2}, deviations), HasSubstr(" DIFFER "));
}

}  // namespace
}  // namespace fttrain
