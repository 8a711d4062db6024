#include "launch/plan/cpu_rig.h"

#include <gtest/gtest.h>

#include "launch/plan/step_time.h"
#include "tests/model/tiny_llama.h"
#include "tests/status_text.h"

namespace fttrain {
namespace {

constexpr double kCopy = 20e9;

Task TinyTask() {
  Task task;
  task.model = LlamaLike(TinyLlama(4));
  task.form.train_base = true;
  task.rows.sequence_len = 64;
  task.rows_per_step = 4;
  return task;
}

TEST(CpuRig, CalibratedByAStepTakesAsLongForIt) {
  for (const double seconds : {0.5, 1.0, 100.0}) {
    const absl::StatusOr<CpuRates> rates = CalibrateCpu(TinyTask(), {}, seconds, kCopy);
    ASSERT_TRUE(rates.ok()) << rates.status();
    EXPECT_NEAR(TimeOf(TinyTask(), {}, CpuRig(*rates, 1), CpuEfficiencies()).seconds, seconds,
                1e-6 * seconds);
  }
}

TEST(CpuRig, CannotBeCalibratedByAStepThatIsShorterThanItsCopies) {
  EXPECT_THAT(CalibrateCpu(TinyTask(), {}, 1e-9, kCopy),
              IsError(absl::StatusCode::kInvalidArgument, "are not products"));
}

TEST(CpuRig, DividesItsCoresOverRanks) {
  const Rig one = CpuRig({1e11, kCopy}, 1), two = CpuRig({1e11, kCopy}, 2);
  ASSERT_EQ(two.cards.size(), 2U);
  EXPECT_EQ(two.cards[1].gemm_flops, one.cards[0].gemm_flops / 2);
  EXPECT_EQ(two.cards[1].memory_bytes_per_second, one.cards[0].memory_bytes_per_second / 2);
}

TEST(CpuRig, HidesNothing) {
  const Task task = TinyTask();
  const Rig rig = CpuRig({1e11, kCopy}, 1);
  Layout layout;
  const double kept = TimeOf(task, layout, rig, CpuEfficiencies()).seconds;
  layout.activations = Place::kHost;
  EXPECT_GT(TimeOf(task, layout, rig, CpuEfficiencies()).seconds, kept);
}

}  // namespace
}  // namespace fttrain
