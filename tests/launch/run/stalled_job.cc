// For the tests of a job that stands still (stalled_job_test.sh, hang_trials.sh): the last rank
// stops in one of many ways, or is slow. The limit is FTTRAIN_STALL_SECONDS, else 5 s.
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <functional>
#include <string>
#include <thread>
#include <utility>

#include "tests/launch/run/tiny_job.h"

namespace fttrain {
namespace {

int64_t NumberFromEnvironment(const char* name, int64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::stoll(text);
}

int64_t TimeoutSeconds() { return NumberFromEnvironment("FTTRAIN_STALL_SECONDS", 5); }

bool IsLast() { return TestProcess().rank() == TestProcess().world_size() - 1; }

// What the last rank does, in a step (counted from 1).
using Act = std::function<void(int64_t step)>;
void Nothing(int64_t) {}

struct Acts {
  Act before_step = Nothing;  // as if the step began with it
  Act on_gradients = Nothing, at_the_end = Nothing;
};

class OnLastRank : public StepObserver {
 public:
  explicit OnLastRank(const Acts& acts) : acts_(acts) {}
  void OnGradients(int64_t step, double) override {
    if (IsLast()) acts_.on_gradients(step + 1);
  }
  void OnUpdated(const StepMetrics& metrics) override {
    if (IsLast()) acts_.at_the_end(metrics.step);
  }

 private:
  const Acts& acts_;
};

void TrainWith(const Layout& layout, const Acts& acts, int64_t steps = kSteps) {
  Task task = TinyTask();
  task.steps = steps;
  JobInputs inputs = TinyInputs(task);
  inputs.timeout_seconds = TimeoutSeconds();
  const auto job = BuildTiny(task, layout, inputs, TestProcess());
  OnLastRank observer(acts);
  job->observers.push_back(&observer);
  Trainer trainer(*job);
  for (int64_t step = 0; step < steps; ++step) {
    if (IsLast()) acts.before_step(step + 1);
    ASSERT_TRUE(trainer.Step(step).ok());
  }
}

// `act` in that step, with a line that says when.
Act In(int64_t which, std::function<void()> act) {
  return [which, act = std::move(act)](int64_t step) {
    if (step != which) return;
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    std::fprintf(stderr, "stalls at %.3f\n", std::chrono::duration<double>(now).count());
    act();
  };
}

void Stop() { std::raise(SIGSTOP); }

void Spin() {
  std::atomic<bool> goes_on{true};
  while (goes_on) continue;
}

// As of a file system that does not answer.
void ReadForEver() {
  int ends[2];
  char byte = 0;
  ASSERT_EQ(pipe(ends), 0);
  ASSERT_EQ(read(ends[0], &byte, 1), 1);
}

// The others reduce gradients meanwhile.
void EnterAnotherOperation() { (void)TestProcess().AgreeOnStatus(absl::OkStatus()); }

const Layout kPipeline{.mesh = {.pp = 2}}, kReplicas{.mesh = {.dp = 2}};

TEST(Stalled, InAPipeline) {
  // After the second step, so that the other waits for a message of the third.
  TrainWith(kPipeline, {.at_the_end = In(2, Stop)});
}
TEST(Stalled, AmongReplicas) { TrainWith(kReplicas, {.on_gradients = In(3, Stop)}); }
TEST(Stalled, Stopped) { TrainWith(kPipeline, {.before_step = In(3, Stop)}); }
TEST(Stalled, Spins) { TrainWith(kReplicas, {.before_step = In(3, Spin)}); }
TEST(Stalled, Reads) { TrainWith(kPipeline, {.before_step = In(3, ReadForEver)}); }
TEST(Stalled, BetweenSteps) { TrainWith(kReplicas, {.on_gradients = In(3, ReadForEver)}); }
TEST(Stalled, Killed) {
  TrainWith(kReplicas, {.before_step = In(3, [] { std::raise(SIGKILL); })});
}
TEST(Stalled, AtOdds) { TrainWith(kReplicas, {.before_step = In(3, EnterAnotherOperation)}); }
// It says itself why it ends, and the others leave that to it.
TEST(Stalled, NotButFailed) {
  TestProcess().AbortJobOnUncaught(70);
  TrainWith(kReplicas, {.before_step = In(3, [] { std::terminate(); })});
}
// Of four ranks, two wait for another that waits for the last.
TEST(Stalled, BehindAnother) {
  TrainWith({.mesh = {.tp = 2, .dp = 2}}, {.before_step = In(3, Spin)});
}

void RestAWhile(int64_t) {
  std::this_thread::sleep_for(std::chrono::milliseconds(TimeoutSeconds() * 1000 / 2 + 100));
}

// Longer than the limit in all, and in each step, but never at a stretch.
TEST(Stalled, NotButSlow) {
  TrainWith(kPipeline, {.on_gradients = RestAWhile, .at_the_end = RestAWhile});
}
// Time for stalled_job_test.sh to suspend it, while the other rank waits.
TEST(Stalled, NotButSuspended) {
  const auto sleep = [] { std::this_thread::sleep_for(std::chrono::milliseconds(1500)); };
  TrainWith(kReplicas, {.before_step = In(3, sleep)});
}
// Every hundredth step the last rank is much slower than the others.
TEST(Stalled, NotInManySteps) {
  const auto pause = [](int64_t step) {
    if (step % 100 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(200));
  };
  TrainWith(kReplicas, {.before_step = pause}, NumberFromEnvironment("FTTRAIN_STALL_STEPS", 50));
}

}  // namespace
}  // namespace fttrain
