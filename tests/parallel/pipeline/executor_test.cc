#include "parallel/pipeline/executor.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "absl/strings/str_cat.h"
#include "parallel/pipeline/schedule.h"

namespace fttrain {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
constexpr auto F = PipelineStep::Kind::kForward;
constexpr auto B = PipelineStep::Kind::kBackward;

// Records calls; activations and gradients carry numbers that say where they come from.
class RecordingStage : public StageModule {
 public:
  at::Tensor Forward(int chunk, int microbatch, at::Tensor input) override {
    calls.push_back(absl::StrCat("F", chunk, ".", microbatch, "(", Text(input), ")"));
    return at::full({}, 100 * chunk + microbatch);
  }
  at::Tensor Backward(int chunk, int microbatch, at::Tensor doutput) override {
    calls.push_back(absl::StrCat("B", chunk, ".", microbatch, "(", Text(doutput), ")"));
    return at::full({}, -(100 * chunk + microbatch));
  }
  MessageSpec Boundary(int) const override { return {}; }
  std::vector<std::string> calls;

 private:
  static std::string Text(const at::Tensor& t) {
    return t.defined() ? absl::StrCat(t.item<int64_t>()) : "";
  }
};

TEST(OneStage, AlternatesForwardAndBackwardOfEachMicrobatch) {
  EXPECT_EQ(ToString(OneForwardOneBackward(0, 1, 3)), "F0.0 B0.0 F0.1 B0.1 F0.2 B0.2");
  EXPECT_EQ(ToString(OneForwardOneBackward(0, 1, 0)), "");
}

TEST(LayerMajor, TakesAllMicrobatchesThroughEachChunkAndBack) {
  EXPECT_EQ(ToString(LayerMajor(3, 2)), "F0.0,1 F1.0,1 F2.0,1 B2.0,1 B1.0,1 B0.0,1");
  EXPECT_EQ(ToString(LayerMajor(1, 3)), "F0.0,1,2 B0.0,1,2");
  EXPECT_EQ(ToString(LayerMajor(2, 1)), "F0.0 F1.0 B1.0 B0.0");
  EXPECT_EQ(ToString(LayerMajor(4, 0)), "");
  EXPECT_TRUE(CheckSchedule(LayerMajor(5, 7)).ok());
}

TEST(ToString, ListsAllMicrobatchesOfAStep) {
  EXPECT_EQ(ToString({{F, 1, {0, 2}}, {B, 1, {0}}}), "F1.0,2 B1.0");
}

TEST(RunSchedule, RunsASingleStageInOrderWithoutInputsAndGradients) {
  RecordingStage stage;
  RunSchedule(OneForwardOneBackward(0, 1, 2), stage);
  EXPECT_THAT(stage.calls, ElementsAre("F0.0()", "B0.0()", "F0.1()", "B0.1()"));
}

TEST(RunSchedule, HandsActivationsAndGradientsBetweenTheChunksOfALayerMajorSchedule) {
  RecordingStage stage;
  RunSchedule({{F, 0, {0, 1}}, {F, 1, {0, 1}}, {B, 1, {0, 1}}, {B, 0, {0, 1}}}, stage);
  EXPECT_THAT(stage.calls, ElementsAre("F0.0()", "F0.1()", "F1.0(0)", "F1.1(1)", "B1.0()", "B1.1()",
                                       "B0.0(-100)", "B0.1(-101)"));
}

TEST(RunSchedule, TellsTheStageAllItsStepsBeforeTheFirst) {
  class Listening : public RecordingStage {
   public:
    void BeginSchedule(const std::vector<PipelineStep>& steps) override {
      calls.push_back(ToString(steps));
    }
  };
  Listening stage;
  RunSchedule(OneForwardOneBackward(0, 1, 1), stage);
  EXPECT_THAT(stage.calls, ElementsAre("F0.0 B0.0", "F0.0()", "B0.0()"));
}

TEST(RunSchedule, RunsForwardsAlone) {
  RecordingStage stage;
  RunSchedule(ForwardsOnly(1, 2, 2), stage);
  EXPECT_THAT(stage.calls, ElementsAre("F0.0()", "F1.0(0)", "F0.1()", "F1.1(1)"));
}

TEST(ForwardsOnly, GoesThroughTheChunksByGroupsOfMicrobatches) {
  EXPECT_EQ(ToString(ForwardsOnly(2, 2, 3)), "f0.0 f0.1 f1.0 f1.1 f0.2 f1.2");
  EXPECT_EQ(ToString(ForwardsOnly(4, 1, 0)), "");
}

TEST(RunSchedule, RefusesABadScheduleBeforeAnyWork) {
  RecordingStage stage;
  EXPECT_THROW(RunSchedule({{F, 0, {0}}, {B, 0, {0}}, {B, 0, {1}}}, stage), c10::Error);
  EXPECT_TRUE(stage.calls.empty());
}

TEST(CheckSchedule, NamesTheFirstStepThatCannotRun) {
  struct Row {
    std::vector<PipelineStep> steps;
    std::string complaint;
  };
  const Row rows[] = {
      {{{B, 0, {0}}, {F, 0, {0}}}, "backward of chunk 0, microbatch 0 runs before its forward"},
      {{{F, 0, {0}}, {F, 0, {0}}}, "forward of chunk 0, microbatch 0 runs twice"},
      {{{F, 0, {1, 1}}}, "forward of chunk 0, microbatch 1 runs twice"},
      {{{F, 0, {0}}, {B, 0, {0}}, {B, 0, {0}}}, "backward of chunk 0, microbatch 0 runs twice"},
      {{{F, 0, {0, 1}}, {B, 0, {0}}}, "forward of chunk 0, microbatch 1 has no backward"},
      {{{F, 1, {0}}, {F, 0, {0}}},
       "forward of chunk 1, microbatch 0 runs before the forward of chunk 0"},
      {{{F, 0, {0}}, {F, 1, {0}}, {B, 0, {0}}, {B, 1, {0}}},
       "backward of chunk 0, microbatch 0 runs before the backward of chunk 1"},
      {{{F, 0, {-1}}}, "has a negative index"},
      {{{F, 0, {0}, false}, {B, 0, {0}}},
       "forward of chunk 0, microbatch 0 keeps nothing, but has a backward"},
      {{{F, 0, {0}}, {F, 1, {0}, false}},
       "forward of chunk 1, microbatch 0 is kept in one chunk and not in another"},
  };
  for (const Row& row : rows) {
    const absl::Status status = CheckSchedule(row.steps);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << ToString(row.steps);
    EXPECT_THAT(status.ToString(), HasSubstr(row.complaint)) << ToString(row.steps);
  }
  EXPECT_TRUE(CheckSchedule(OneForwardOneBackward(0, 1, 4)).ok());
  // A reference's forward between those that are trained.
  EXPECT_TRUE(CheckSchedule({{F, 0, {1}, false}, {F, 0, {0}}, {B, 0, {0}}}).ok());
}

}  // namespace
}  // namespace fttrain
