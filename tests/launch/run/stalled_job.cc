// For the test of a job that stands still (stalled_job_test.sh): rank 1 stops, or is slow.
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <functional>
#include <thread>

#include "tests/launch/run/tiny_job.h"

namespace fttrain {
namespace {

constexpr int64_t kTimeoutSeconds = 5;

// What rank 1 does when it has the gradients of a step (counted from 1), and at its end.
class OnRank1 : public StepObserver {
 public:
  using Act = std::function<void(int64_t step)>;
  OnRank1(Act on_gradients, Act at_the_end) : acts_{on_gradients, at_the_end} {}
  void OnGradients(int64_t step, double) override { Do(0, step + 1); }
  void OnUpdated(const StepMetrics& metrics) override { Do(1, metrics.step); }

 private:
  void Do(int which, int64_t step) {
    if (TestProcess().rank() == 1) acts_[which](step);
  }
  Act acts_[2];
};

void TrainWith(const Layout& layout, OnRank1 observer) {
  const Task task = TinyTask();
  JobInputs inputs = TinyInputs(task);
  inputs.timeout_seconds = kTimeoutSeconds;
  const auto job = BuildTiny(task, layout, inputs, TestProcess());
  job->observers.push_back(&observer);
  Trainer trainer(*job);
  for (int64_t step = 0; step < kSteps; ++step) ASSERT_TRUE(trainer.Step(step).ok());
}

void Nothing(int64_t) {}

TEST(Stalled, InAPipeline) {
  // After the first step, so that the other waits for a message of the second.
  TrainWith({.mesh = {.pp = 2}}, {Nothing, [](int64_t) { std::raise(SIGSTOP); }});
}

TEST(Stalled, AmongReplicas) {
  const auto stop = [](int64_t step) {
    if (step == 3) std::raise(SIGSTOP);
  };
  TrainWith({.mesh = {.dp = 2}}, {stop, Nothing});
}

// Longer than the limit in all, and in each step, but never at a stretch.
TEST(Stalled, NotButSlow) {
  const auto rest = [](int64_t) {
    std::this_thread::sleep_for(std::chrono::milliseconds(kTimeoutSeconds * 1000 / 2 + 100));
  };
  TrainWith({.mesh = {.pp = 2}}, {rest, rest});
}

}  // namespace
}  // namespace fttrain
