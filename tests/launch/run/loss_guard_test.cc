#include "launch/run/loss_guard.h"

#include <gtest/gtest.h>

#include <limits>

namespace fttrain {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInfinity = std::numeric_limits<double>::infinity();

TEST(LossGuard, PassesOverWhatIsNotFinite) {
  LossGuard guard({.max_in_a_row = 2});
  EXPECT_EQ(guard.Judge(1.5, 2.0), "");
  EXPECT_EQ(guard.Judge(kNan, 2.0), "not finite");
  EXPECT_EQ(guard.Judge(1.5, kInfinity), "not finite");
  EXPECT_FALSE(guard.Exhausted());
  EXPECT_EQ(guard.Judge(-kInfinity, 2.0), "not finite");
  EXPECT_TRUE(guard.Exhausted());
}

TEST(LossGuard, CountsInARow) {
  LossGuard guard({.max_in_a_row = 1});
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(guard.Judge(kNan, 1), "not finite");
    EXPECT_EQ(guard.in_a_row(), 1);
    EXPECT_EQ(guard.Judge(1, 1), "");
    EXPECT_EQ(guard.in_a_row(), 0);
    EXPECT_FALSE(guard.Exhausted());
  }
}

TEST(LossGuard, WithoutPatienceEndsAtTheFirst) {
  LossGuard guard;
  EXPECT_EQ(guard.Judge(kNan, 1), "not finite");
  EXPECT_TRUE(guard.Exhausted());
}

// Losses of 1.9 and 2.1 in turn: mean 2, standard deviation 0.1.
LossGuard After(int steps, double spike) {
  LossGuard guard({.max_in_a_row = 3, .spike = spike});
  for (int i = 0; i < steps; ++i) EXPECT_EQ(guard.Judge(i % 2 == 0 ? 1.9 : 2.1, 1), "");
  return guard;
}

TEST(LossGuard, PassesOverASpikeOnceItKnowsTheLosses) {
  EXPECT_EQ(After(20, 4).Judge(2.41, 1), "loss spike");
  EXPECT_EQ(After(20, 4).Judge(2.39, 1), "");
  EXPECT_EQ(After(19, 4).Judge(1000, 1), "");
  EXPECT_EQ(After(20, 0).Judge(1000, 1), "");
}

TEST(LossGuard, DoesNotTakeASpikeForALoss) {
  LossGuard guard = After(20, 4);
  EXPECT_EQ(guard.Judge(1000, 1), "loss spike");
  EXPECT_EQ(guard.Judge(2.41, 1), "loss spike");
}

TEST(LossGuard, ForgetsWhatIsAHundredStepsOld) {
  LossGuard guard = After(100, 4);
  for (int i = 0; i < 100; ++i) guard.Judge(i % 2 == 0 ? 0.9 : 1.1, 1);
  EXPECT_EQ(guard.Judge(1.5, 1), "loss spike");
}

TEST(LossGuard, GoesOnFromItsStateToTheLastBit) {
  LossGuard first({.max_in_a_row = 5, .spike = 2});
  for (int i = 0; i < 30; ++i) first.Judge(2 + 1.0 / (i + 3), 1);
  first.Judge(kNan, 1);
  LossGuard second(first.options());
  ASSERT_TRUE(second.Restore(first.State()));
  EXPECT_EQ(second.State(), first.State());
  EXPECT_EQ(second.in_a_row(), 1);
  for (const double loss : {2.1, 2.02, 2.3}) EXPECT_EQ(second.Judge(loss, 1), first.Judge(loss, 1));
}

TEST(LossGuard, RefusesAStateThatIsNone) {
  LossGuard guard;
  for (const char* text : {"", "x", "1 ", "1 2 x", "1 nan", "1 inf", "-"}) {
    EXPECT_FALSE(guard.Restore(text)) << text;
  }
  EXPECT_TRUE(guard.Restore("0"));
}

}  // namespace
}  // namespace fttrain
