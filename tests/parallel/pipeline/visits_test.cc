#include "parallel/pipeline/visits.h"

#include <gtest/gtest.h>

#include "parallel/pipeline/schedule.h"

namespace fttrain {
namespace {

constexpr LayerRun kWhole = {.begin = 0, .end = 3, .first = true, .last = true};

std::string Of(const std::vector<PipelineStep>& steps, const std::vector<LayerRun>& runs,
               bool embedding_backward = false) {
  return ToString(VisitsOf(steps, runs, embedding_backward));
}

TEST(Visits, OfOneMicrobatchGoThroughThePartsAndBack) {
  EXPECT_EQ(Of(OneForwardOneBackward(0, 1, 1), {kWhole}),
            "E.f0 0.f0 1.f0 (2.f0 (H.f0 H.b0) 2.b0) 1.b0 0.b0");
}

TEST(Visits, OfATrainedEmbeddingComeAgainAtTheEndOfABackward) {
  EXPECT_EQ(Of(OneForwardOneBackward(0, 1, 1), {{0, 2, true, true}}, true),
            "E.f0 0.f0 (1.f0 (H.f0 H.b0) 1.b0) 0.b0 E.b0");
}

TEST(Visits, OfAStageWithoutEndsAreItsLayers) {
  EXPECT_EQ(Of(OneForwardOneBackward(0, 2, 2), {{1, 3, false, false}}),
            "1.f0 2.f0 1.f1 (2.f1 2.b0) 1.b0 2.b1 1.b1");
}

TEST(Visits, OfOneLayerForAllMicrobatchesAreASharedStretch) {
  const std::vector<LayerRun> layers = {{0, 1, true, false}, {1, 2, false, true}};
  EXPECT_EQ(Of(LayerMajor(2, 2), layers),
            "(*E.f0 (*0.f0 *E.f1) *0.f1) "
            "(*1.f0 (*H.f0 *1.f1 *H.f1 *H.b0 *1.b0 *H.b1) *1.b1) "
            "(*0.b0 *0.b1)");
}

TEST(Visits, OfAStageWithOneLayerAreOneStretchInAnySchedule) {
  EXPECT_EQ(Of(GPipe(2), {{4, 5, false, false}}), "(*4.f0 *4.f1 *4.b0 *4.b1)");
}

TEST(Visits, ChunksOfOneLayerEndEachOthersStretches) {
  EXPECT_EQ(Of(Interleaved(1, 2, 2, 2), {{1, 2, false, false}, {3, 4, false, true}}),
            "(*1.f0 *1.f1) (*3.f0 (*H.f0 *H.b0 *3.b0 *3.f1 *H.f1 *H.b1) *3.b1) (*1.b0 *1.b1)");
}

}  // namespace
}  // namespace fttrain
