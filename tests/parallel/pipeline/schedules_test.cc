#include <c10/util/Exception.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <string>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "parallel/pipeline/schedule.h"
#include "parallel/pipeline/simulator.h"
#include "tests/status_text.h"

namespace fttrain {
namespace {

using ::testing::HasSubstr;
using Stages = std::vector<std::vector<PipelineStep>>;

constexpr int kMostStages = 8, kMostChunks = 4, kMostMicrobatches = 32;

Stages AllStages(int num_stages, const std::function<std::vector<PipelineStep>(int)>& schedule) {
  Stages stages;
  for (int stage = 0; stage < num_stages; ++stage) stages.push_back(schedule(stage));
  return stages;
}

// Every run's forward and backward once for every microbatch, and the simulator finds no fault.
void ExpectComplete(const Stages& stages, int chunks, int microbatches) {
  for (const auto& steps : stages) {
    std::set<std::tuple<PipelineStep::Kind, int, int>> cells;
    for (const PipelineStep& step : steps) {
      for (const int m : step.microbatches) cells.insert({step.kind, step.chunk, m});
    }
    EXPECT_EQ(static_cast<int>(cells.size()), 2 * chunks * microbatches) << ToString(steps);
  }
}

double Seconds(const Stages& stages, const SimulationOptions& options) {
  const absl::StatusOr<Simulation> run = Simulate(stages, options);
  EXPECT_TRUE(run.ok()) << run.status();
  return run.ok() ? run->seconds : -1.0;
}

const SimulationOptions kUneven = {.forward_seconds = 1.0, .backward_seconds = 2.0};

TEST(GPipe, RunsAllForwardsThenAllBackwards) {
  EXPECT_EQ(ToString(GPipe(2)), "F0.0 F0.1 B0.0 B0.1");
}

TEST(OneForwardOneBackward, WarmsUpByTheDistanceToTheLastStage) {
  EXPECT_EQ(ToString(OneForwardOneBackward(0, 3, 4)), "F0.0 F0.1 F0.2 B0.0 F0.3 B0.1 B0.2 B0.3");
  EXPECT_EQ(ToString(OneForwardOneBackward(2, 3, 4)), "F0.0 B0.0 F0.1 B0.1 F0.2 B0.2 F0.3 B0.3");
  EXPECT_EQ(ToString(OneForwardOneBackward(0, 4, 2)), "F0.0 F0.1 B0.0 B0.1");
}

TEST(Interleaved, TakesGroupsOfMicrobatchesThroughTheChunks) {
  EXPECT_EQ(ToString(Interleaved(0, 2, 2, 2)), "F0.0 F0.1 F1.0 F1.1 B1.0 B1.1 B0.0 B0.1");
  EXPECT_EQ(ToString(Interleaved(1, 2, 2, 2)), "F0.0 F0.1 F1.0 B1.0 F1.1 B1.1 B0.0 B0.1");
}

TEST(Interleaved, WithOneChunkIsFedAsOneForwardOneBackwardIs) {
  for (const int stage : {0, 1, 2}) {
    const auto steps = Interleaved(stage, 3, 1, 6);
    EXPECT_EQ(steps.size(), 12u);
    EXPECT_EQ(MostInFlight(steps), std::min(6, 2 * (3 - stage - 1) + 1));
  }
}

TEST(Interleaved, RefusesMicrobatchesThatFormNoWholeGroups) {
  const absl::Status status = CheckInterleaved(4, 2, 6);
  EXPECT_THAT(ErrorText(status), HasSubstr("gradient_accumulation_steps to 8"));
  EXPECT_TRUE(CheckInterleaved(4, 2, 8).ok());
  EXPECT_THROW(Interleaved(0, 4, 2, 6), c10::Error);
}

// The closed forms: with forwards of f and backwards of b seconds and nothing lost on the wire,
// each stage works m v (f + b) and waits (p - 1)(f + b).
TEST(Schedules, MeetWithoutDeadlockAndWaitAsTheClosedFormSays) {
  for (int p = 1; p <= kMostStages; ++p) {
    for (int m = 1; m <= kMostMicrobatches; ++m) {
      const double closed_form = (m + p - 1) * 3.0;
      const Stages gpipe = AllStages(p, [&](int) { return GPipe(m); });
      const Stages alternating =
          AllStages(p, [&](int stage) { return OneForwardOneBackward(stage, p, m); });
      ExpectComplete(gpipe, 1, m);
      ExpectComplete(alternating, 1, m);
      EXPECT_EQ(Seconds(gpipe, kUneven), closed_form) << p << " stages, " << m;
      EXPECT_EQ(Seconds(alternating, kUneven), closed_form) << p << " stages, " << m;
      for (int stage = 0; stage < p; ++stage) {
        EXPECT_EQ(MostInFlight(gpipe[stage]), m);
        EXPECT_EQ(MostInFlight(alternating[stage]), std::min(m, p - stage));
      }
    }
  }
}

TEST(Interleaved, DividesTheWaitByTheChunksOfAStage) {
  for (int p = 1; p <= kMostStages; ++p) {
    for (int v = 1; v <= kMostChunks; ++v) {
      for (int m = p; m <= kMostMicrobatches; m += p) {
        const Stages stages = AllStages(p, [&](int stage) { return Interleaved(stage, p, v, m); });
        ExpectComplete(stages, v, m);
        SimulationOptions options = kUneven;
        options.buffers = 2;
        EXPECT_EQ(Seconds(stages, options), (m * v + p - 1) * 3.0)
            << p << " stages, " << v << " chunks, " << m << " microbatches";
        options.buffers = 1;
        Seconds(stages, options);  // slower perhaps, but it ends
        for (int stage = 0; stage < p; ++stage) {
          EXPECT_EQ(MostInFlight(stages[stage]),
                    std::min(m * v, 2 * (p - stage - 1) + (v - 1) * p + 1));
        }
      }
    }
  }
}

// Calls see(stages) for every schedule of several stages in the range.
void ForEverySchedule(const std::function<void(const Stages&)>& see) {
  for (int p = 2; p <= kMostStages; ++p) {
    for (int m = 1; m <= kMostMicrobatches; ++m) {
      SCOPED_TRACE(absl::StrCat(p, " stages, ", m, " microbatches"));
      see(AllStages(p, [&](int) { return GPipe(m); }));
      see(AllStages(p, [&](int stage) { return OneForwardOneBackward(stage, p, m); }));
      for (int v = 1; v <= kMostChunks && m % p == 0; ++v) {
        SCOPED_TRACE(absl::StrCat(v, " chunks"));
        see(AllStages(p, [&](int stage) { return Interleaved(stage, p, v, m); }));
      }
    }
  }
}

// Where a receive occupies the device until its message comes (NCCL), it must not be posted before
// a send of this stage's own that the message depends on. Posted at its turn none is, in the whole
// range, with one message or several on the way; posted one message ahead every schedule has one
// that is: the first stage's first gradient, before any activation is sent.
TEST(Schedules, PostNoReceiveBeforeTheOwnSendsThatItDependsOn) {
  ForEverySchedule([](const Stages& stages) {
    for (const int buffers : {1, 2}) {
      EXPECT_GT(Seconds(stages, {.buffers = buffers}), 0);
      EXPECT_THAT(ErrorText(Simulate(stages, {.buffers = buffers, .posted_ahead = 1})),
                  HasSubstr("stage 0 waits for ever with the forward of run 0, microbatch 0"));
    }
  });
}

TEST(Schedules, OfForwardsAlonePostNoReceiveTooEarlyEither) {
  for (int p = 2; p <= kMostStages; ++p) {
    for (int v = 1; v <= kMostChunks; ++v) {
      for (int m = 1; m <= kMostMicrobatches; ++m) {
        SCOPED_TRACE(absl::StrCat(p, " stages, ", v, " chunks, ", m, " microbatches"));
        const Stages stages = AllStages(p, [&](int) { return ForwardsOnly(p, v, m); });
        for (const int buffers : {1, 2}) {
          EXPECT_GT(Seconds(stages, {.buffers = buffers}), 0);
          // One chunk's messages depend on nothing that their receiver sends.
          EXPECT_EQ(Simulate(stages, {.buffers = buffers, .posted_ahead = 1}).ok(), v == 1);
        }
      }
    }
  }
}

// Of GPipe's messages all but the first forward and the last backward travel while others compute.
TEST(Simulate, AddsToGPipeOneWayUpAndOneWayDown) {
  SimulationOptions options = kUneven;
  options.transfer_seconds = 0.25;
  options.buffers = 2;
  for (const int p : {2, 3, 8}) {
    const Stages stages = AllStages(p, [](int) { return GPipe(16); });
    EXPECT_EQ(Seconds(stages, options), (16 + p - 1) * 3.0 + 2 * (p - 1) * 0.25) << p;
  }
}

TEST(Simulate, LetsALinkCarryOneMessageAfterTheOther) {
  SimulationOptions options;
  options.transfer_seconds = 4.0;
  options.buffers = 32;
  const Stages stages = AllStages(2, [](int) { return GPipe(32); });
  // The first forward, 32 up, the last forward and the first backward, 32 down, the last backward.
  EXPECT_EQ(Seconds(stages, options), 1.0 + 32 * 4 + 1 + 1 + 32 * 4 + 1);
}

TEST(Simulate, FindsADeadlock) {
  using Kind = PipelineStep::Kind;
  // The first stage wants its backward before it sends the second microbatch, which the second
  // stage wants before it sends anything back.
  const Stages stages = {OneForwardOneBackward(1, 2, 2),
                         {{Kind::kForward, 0, {0, 1}}, {Kind::kBackward, 0, {0, 1}}}};
  EXPECT_THAT(ErrorText(Simulate(stages, {})), HasSubstr("waits for ever"));
}

TEST(Simulate, HoldsUpAStageWhileAReceiveThatIsPostedAheadIsOpen) {
  // Two microbatches forward over two stages: the second stage posts the second's receive before it
  // computes the first, and the second is sent a forward later.
  const Stages stages = AllStages(2, [](int) { return ForwardsOnly(2, 1, 2); });
  EXPECT_EQ(Seconds(stages, {.buffers = 2}), 3.0);
  EXPECT_EQ(Seconds(stages, {.buffers = 2, .posted_ahead = 1}), 4.0);
}

TEST(Simulate, FindsMessagesTakenOutOfOrder) {
  using Kind = PipelineStep::Kind;
  const Stages stages = {GPipe(2), {{Kind::kForward, 0, {1, 0}}, {Kind::kBackward, 0, {0, 1}}}};
  EXPECT_THAT(ErrorText(Simulate(stages, {})),
              HasSubstr("stage 1: the forward of run 1, microbatch 1 would take the output of the "
                        "forward of run 0, microbatch 0"));
}

TEST(Simulate, GivesEachRunOfTheModelItsOwnSeconds) {
  const Stages stages = AllStages(2, [](int stage) { return OneForwardOneBackward(stage, 2, 2); });
  const absl::StatusOr<Simulation> run =
      Simulate(stages, {.forward_of_run = {1, 5}, .backward_of_run = {2, 7}});
  ASSERT_TRUE(run.ok()) << run.status();
  EXPECT_EQ(run->busy_seconds, (std::vector<double>{6, 24}));
  // The first forward, all of the longer stage, the last backward.
  EXPECT_EQ(run->seconds, 1 + 24 + 2);
}

}  // namespace
}  // namespace fttrain
