#include "parallel/pipeline/arrivals.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"

namespace fttrain {
namespace {

using Kind = PipelineStep::Kind;

// "F0.0:1+0 ...": what a stage does, and how much has arrived from before and from after.
std::string Text(int stage, const PipelineSchedule& stages) {
  const auto arrivals = ArrivalsAt(stage, stages);
  EXPECT_TRUE(arrivals.ok()) << arrivals.status();
  std::string text;
  size_t i = 0;
  for (const PipelineStep& step : stages[static_cast<size_t>(stage)]) {
    const Arrivals& arrived = arrivals->at(i++);
    absl::StrAppend(&text, text.empty() ? "" : " ", ToString({step}), ":", arrived.forward, "+",
                    arrived.backward);
  }
  return text;
}

TEST(Arrivals, OfOneForwardOneBackward) {
  const auto stages = MakeAllStages(PipelineKind::kOneForwardOneBackward, 2, 1, 3);
  EXPECT_EQ(Text(0, stages), "F0.0:0+0 F0.1:0+0 B0.0:0+1 F0.2:0+1 B0.1:0+2 B0.2:0+3");
  EXPECT_EQ(Text(1, stages), "F0.0:1+0 B0.0:2+0 F0.1:2+0 B0.1:2+0 F0.2:3+0 B0.2:3+0");
}

TEST(Arrivals, OfTheInterleavedSchedule) {
  const auto stages = MakeAllStages(PipelineKind::kInterleaved, 2, 2, 2);
  EXPECT_EQ(Text(0, stages),
            "F0.0:0+0 F0.1:0+0 F1.0:1+0 F1.1:2+0 B1.0:2+1 B1.1:2+2 B0.0:2+3 B0.1:2+4");
  EXPECT_EQ(Text(1, stages),
            "F0.0:1+0 F0.1:2+0 F1.0:3+0 B1.0:4+0 F1.1:4+0 B1.1:4+1 B0.0:4+1 B0.1:4+2");
}

// What a stage takes has arrived, and little waits: it is memory.
void ExpectEachInTime(const PipelineSchedule& stages, size_t most_waiting) {
  const int num_stages = static_cast<int>(stages.size());
  int last_run = 0;
  for (const PipelineStep& step : stages.back()) {
    last_run = std::max(last_run, step.chunk * num_stages + num_stages - 1);
  }
  for (int stage = 0; stage < num_stages; ++stage) {
    const auto arrivals = ArrivalsAt(stage, stages);
    ASSERT_TRUE(arrivals.ok()) << arrivals.status();
    Arrivals taken;
    size_t i = 0;
    for (const PipelineStep& step : stages[static_cast<size_t>(stage)]) {
      const bool forward = step.kind == Kind::kForward;
      const Arrivals& arrived = arrivals->at(i++);
      EXPECT_LE(arrived.forward - taken.forward, most_waiting);
      EXPECT_LE(arrived.backward - taken.backward, most_waiting);
      if (step.chunk * num_stages + stage == (forward ? 0 : last_run)) continue;
      size_t& count = forward ? taken.forward : taken.backward;
      ASSERT_LT(count, forward ? arrived.forward : arrived.backward) << ToString({step});
      ++count;
    }
  }
}

TEST(Arrivals, AreBeforeTheyAreTakenAndFew) {
  for (const int stages : {2, 3, 4, 8}) {
    for (const int microbatches : {1, 2, 5, 16}) {
      SCOPED_TRACE(absl::StrCat(stages, " stages, ", microbatches, " microbatches"));
      ExpectEachInTime(MakeAllStages(PipelineKind::kGPipe, stages, 1, microbatches), 1);
      ExpectEachInTime(MakeAllStages(PipelineKind::kOneForwardOneBackward, stages, 1, microbatches),
                       1);
      for (const int chunks : {1, 2, 4}) {
        ExpectEachInTime(PipelineSchedule(static_cast<size_t>(stages),
                                          ForwardsOnly(stages, chunks, microbatches)),
                         1);
        ExpectEachInTime(
            MakeAllStages(PipelineKind::kInterleaved, stages, chunks, stages * microbatches),
            static_cast<size_t>(std::max(2, (stages + 1) / 2)));
      }
    }
  }
}

}  // namespace
}  // namespace fttrain
