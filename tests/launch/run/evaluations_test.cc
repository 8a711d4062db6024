#include "launch/run/evaluations.h"

#include <gtest/gtest.h>

#include <cmath>

namespace fttrain {
namespace {

TEST(Evaluations, TheLowestLossIsTheBest) {
  Evaluations seen;
  EXPECT_TRUE(seen.Add(10, 3.0));
  EXPECT_TRUE(seen.Add(20, 2.0));
  EXPECT_FALSE(seen.Add(30, 2.0));
  EXPECT_FALSE(seen.Add(40, 2.5));
  EXPECT_EQ(seen.best()->step, 20);
  EXPECT_EQ(seen.best()->loss, 2.0);
}

TEST(Evaluations, StopAfterSoManyInARowWithoutALowerOne) {
  Evaluations seen({.patience = 2});
  for (const double loss : {3.0, 3.1, 2.9, 3.0}) seen.Add(1, loss);
  EXPECT_FALSE(seen.ShouldStop()) << "the third was lower";
  seen.Add(1, 3.0);
  EXPECT_TRUE(seen.ShouldStop());
}

TEST(Evaluations, WithoutPatienceNeverStop) {
  Evaluations seen;
  for (int i = 0; i < 100; ++i) seen.Add(i, i);
  EXPECT_FALSE(seen.ShouldStop());
}

// A little lower is the best one, but does not buy patience: as transformers has it.
TEST(Evaluations, OnlyWhatIsLowerByMoreThanTheThresholdBuysPatience) {
  Evaluations seen({.patience = 2, .threshold = 0.1});
  EXPECT_TRUE(seen.Add(1, 3.0));
  EXPECT_TRUE(seen.Add(2, 2.95));
  EXPECT_EQ(seen.in_a_row(), 1);
  EXPECT_TRUE(seen.Add(3, 2.90));
  EXPECT_TRUE(seen.ShouldStop());
}

TEST(Evaluations, ALossThatIsNotFiniteIsNeverTheBest) {
  Evaluations seen({.patience = 1});
  EXPECT_FALSE(seen.Add(1, std::nan("")));
  EXPECT_FALSE(seen.best().has_value());
  EXPECT_TRUE(seen.ShouldStop());
}

TEST(Evaluations, GoOnFromWhatTheyHadSeenToTheLastBit) {
  Evaluations seen({.patience = 3});
  seen.Add(10, 1.0 / 3);
  seen.Add(20, 0.5);
  Evaluations other({.patience = 3});
  ASSERT_TRUE(other.Restore(seen.State())) << seen.State();
  EXPECT_EQ(other.best()->step, 10);
  EXPECT_EQ(other.best()->loss, 1.0 / 3);
  EXPECT_EQ(other.in_a_row(), 1);
  ASSERT_TRUE(other.Restore(Evaluations().State()));
  EXPECT_FALSE(other.best().has_value());
}

TEST(Evaluations, TheBestOfAnotherRunStaysThereUntilThereIsABetter) {
  Evaluations seen;
  seen.BestIsIn("/a b/checkpoints");
  seen.Add(10, 2.0);
  EXPECT_EQ(seen.best()->folder, "");
  seen.BestIsIn("/a b/checkpoints");
  seen.BestIsIn("/c");  // of a run that went on from one that went on
  Evaluations other;
  ASSERT_TRUE(other.Restore(seen.State())) << seen.State();
  EXPECT_EQ(other.best()->folder, "/a b/checkpoints");
  other.Add(20, 1.0);
  EXPECT_EQ(other.best()->folder, "");
}

TEST(Evaluations, OtherTextsAreNotTheirs) {
  for (const char* text : {"", "x", "-1", "1 2", "1 2 x", "1 2 ", "1 2 3 4", "1 2 3 "}) {
    EXPECT_FALSE(Evaluations().Restore(text)) << text;
  }
}

}  // namespace
}  // namespace fttrain
