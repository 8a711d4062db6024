#include "launch/plan/layout.h"

#include <gtest/gtest.h>

namespace fttrain {
namespace {

TEST(LinksOptions, HoldWhatAStageHandsOnOfAFullMicrobatch) {
  Task task;
  task.model.hidden_size = 32;
  task.form.compute = at::kFloat;
  task.rows.sequence_len = 16;
  Layout layout = {.mesh = {.tp = 3, .pp = 2}, .micro_batch_rows = 2};
  EXPECT_EQ(LinksOptionsOf(task, layout).max_message_bytes, 33 * 32 * 4);
  layout.sequence_parallel = true;
  EXPECT_EQ(LinksOptionsOf(task, layout).max_message_bytes, 11 * 32 * 4);
}

}  // namespace
}  // namespace fttrain
