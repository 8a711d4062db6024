#include "launch/run/phases.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

namespace fttrain {
namespace {

void Sleep(int milliseconds) { std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds)); }

class SlowStage : public StageModule {
 public:
  at::Tensor Forward(int, int, at::Tensor input) override { return Sleep(20), input; }
  at::Tensor Backward(int, int, at::Tensor doutput) override { return Sleep(40), doutput; }
  MessageSpec Boundary(int) const override { return {}; }
};

TEST(PhaseClock, WaitIsWhatOfAScheduleIsNeitherForwardNorBackward) {
  PhaseClock clock(c10::kCPU);
  SlowStage stage;
  const auto timed = Timed(stage, clock);
  clock.Start(Phase::kWait);
  for (int i = 0; i < 2; ++i) timed->Backward(0, i, timed->Forward(0, i, {}));
  Sleep(30);
  clock.Stop(Phase::kWait);
  const PhaseSeconds seconds = clock.Read();
  // Sleeps are never shorter; how much longer depends on the machine.
  EXPECT_GE(seconds[Phase::kForward], 0.040);
  EXPECT_GE(seconds[Phase::kBackward], 0.080);
  EXPECT_GE(seconds[Phase::kWait], 0.029);
  EXPECT_EQ(seconds[Phase::kData], 0);
}

TEST(PhaseClock, AnotherStepBeginsAtZero) {
  PhaseClock clock(c10::kCPU);
  clock.Start(Phase::kData);
  clock.Stop(Phase::kData);
  clock.Read();
  EXPECT_EQ(clock.Read()[Phase::kData], 0);
}

TEST(PhaseName, IsAWordForEach) {
  EXPECT_EQ(PhaseName(Phase::kData), "data");
  EXPECT_EQ(PhaseName(Phase::kSave), "save");
}

}  // namespace
}  // namespace fttrain
