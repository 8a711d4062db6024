#include "parallel/pipeline/stage_links.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <thread>

#include "tests/mpi_test_main.h"

namespace fttrain {
namespace {

constexpr int kMessages = 30;
constexpr int64_t kNumel = 500;

// Message `index` from the rank `world_rank`.
at::Tensor Message(int world_rank, int index) {
  return at::full({kNumel}, 1000 * world_rank + index, at::kDouble);
}

int RankOf(const MeshShape& shape, int stage) {
  const MeshPosition at = PositionOfRank(shape, TestProcess().rank());
  return (at.dp * shape.pp + (stage + shape.pp) % shape.pp) * shape.tp + at.tp;
}

// Every stage sends each way it can before it takes, at random times.
void ExchangeAll(StageLinks& links, const MeshShape& shape, bool ring) {
  std::mt19937 random(static_cast<uint32_t>(TestProcess().rank()));
  const int stage = links.stage(), last = links.num_stages() - 1;
  const bool up = ring || stage < last, down = ring || stage > 0;
  for (int i = 0; i < kMessages; ++i) {
    std::this_thread::sleep_for(std::chrono::microseconds(random() % 200));
    const at::Tensor mine = Message(TestProcess().rank(), i);
    const MessageSpec spec{{kNumel}, mine.options(), MemoryCategory::kSaved};
    if (down) links.Post(Flow::kForward, spec);
    if (up) links.Post(Flow::kBackward, spec);
    if (up) links.Send(Flow::kForward, mine);
    if (down) links.Send(Flow::kBackward, mine);
    if (up) {
      EXPECT_TRUE(at::equal(links.Take(Flow::kBackward), Message(RankOf(shape, stage + 1), i)));
    }
    if (down) {
      EXPECT_TRUE(at::equal(links.Take(Flow::kForward), Message(RankOf(shape, stage - 1), i)));
    }
  }
  links.FinishSends();
  const int64_t bytes = kMessages * kNumel * 8;
  EXPECT_EQ(links.wire_bytes(Flow::kForward), up ? bytes : 0);
  EXPECT_EQ(links.wire_bytes(Flow::kBackward), down ? bytes : 0);
}

TEST(StageLinks, JoinNeighboursOfALineInBothDirections) {
  const int world = TestProcess().world_size();
  for (int pp = 2; pp <= world; ++pp) {
    if (world % pp != 0) continue;
    for (const bool tensor : {false, true}) {
      const MeshShape shape{tensor ? world / pp : 1, pp, tensor ? 1 : world / pp};
      for (const bool ring : {false, true}) {
        // Room for the usual message, and for none.
        for (const int64_t max_message_bytes : {kNumel * 8, int64_t{64}}) {
          const auto links =
              StageLinks::Create(CreateMpiCommunicator, TestProcess(), shape, {ring, max_message_bytes})
                  .value();
          EXPECT_EQ(links->stage(), PositionOfRank(shape, TestProcess().rank()).pp);
          ExchangeAll(*links, shape, ring);
        }
      }
    }
  }
}

TEST(StageLinks, AtTheEndsOfAPipelineThereIsNobody) {
  const int world = TestProcess().world_size();
  const MeshShape shape{1, world, 1};
  const auto links = StageLinks::Create(CreateMpiCommunicator, TestProcess(), shape, {}).value();
  const at::Tensor message = Message(0, 0);
  const MessageSpec spec{{kNumel}, message.options(), MemoryCategory::kSaved};
  if (links->stage() == 0) {
    EXPECT_THROW(links->Send(Flow::kBackward, message), c10::Error);
    EXPECT_THROW(links->Post(Flow::kForward, spec), c10::Error);
  }
  if (links->stage() == world - 1) {
    EXPECT_THROW(links->Send(Flow::kForward, message), c10::Error);
    EXPECT_THROW(links->Post(Flow::kBackward, spec), c10::Error);
  }
  EXPECT_THROW(StageLinks::None()->Send(Flow::kForward, message), c10::Error);
}

}  // namespace
}  // namespace fttrain
