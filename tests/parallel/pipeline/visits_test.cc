#include "parallel/pipeline/visits.h"

#include <gtest/gtest.h>

#include "parallel/pipeline/schedule.h"

namespace fttrain {
namespace {

struct Row {
  const char* what;
  std::vector<PipelineStep> steps;
  std::vector<LayerRun> runs;  // begin, end, first, last
  const char* want;
  bool embedding_backward = false;
};

TEST(Visits, GoThroughThePartsOfAStageInTheOrderOfItsSteps) {
  const std::vector<Row> rows = {
      {"one microbatch goes through the parts and back",
       OneForwardOneBackward(0, 1, 1),
       {{0, 3, true, true}},
       "E.f0 0.f0 1.f0 (2.f0 (H.f0 H.b0) 2.b0) 1.b0 0.b0"},
      {"a trained embedding comes again at the end of a backward",
       OneForwardOneBackward(0, 1, 1),
       {{0, 2, true, true}},
       "E.f0 0.f0 (1.f0 (H.f0 H.b0) 1.b0) 0.b0 E.b0",
       /*embedding_backward=*/true},
      {"a stage without ends is its layers",
       OneForwardOneBackward(0, 2, 2),
       {{1, 3, false, false}},
       "1.f0 2.f0 1.f1 (2.f1 2.b0) 1.b0 2.b1 1.b1"},
      {"one layer for all microbatches is a shared stretch",
       LayerMajor(2, 2),
       {{0, 1, true, false}, {1, 2, false, true}},
       "(*E.f0 (*0.f0 *E.f1) *0.f1) (*1.f0 (*H.f0 *1.f1 *H.f1 *H.b0 *1.b0 *H.b1) *1.b1) "
       "(*0.b0 *0.b1)"},
      {"a stage with one layer is one stretch in any schedule",
       GPipe(2),
       {{4, 5, false, false}},
       "(*4.f0 *4.f1 *4.b0 *4.b1)"},
      {"chunks of one layer end each other's stretches",
       Interleaved(1, 2, 2, 2),
       {{1, 2, false, false}, {3, 4, false, true}},
       "(*1.f0 *1.f1) (*3.f0 (*H.f0 *H.b0 *3.b0 *3.f1 *H.f1 *H.b1) *3.b1) (*1.b0 *1.b1)"}};
  for (const Row& row : rows) {
    EXPECT_EQ(ToString(VisitsOf(row.steps, row.runs, row.embedding_backward)), row.want)
        << row.what;
  }
}

}  // namespace
}  // namespace fttrain
