// What is checked of a job whose ranks are connected, with GPUs that are told of.
#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include "launch/run/memory_need.h"
#include "launch/run/network.h"
#include "model/config/families/llama_shape.h"
#include "runtime/memory/ledger.h"
#include "tests/launch/run/tiny_job.h"
#include "tests/mpi_test_main.h"
#include "tests/runtime/process/fake_gpus.h"

namespace fttrain {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kMib = 1 << 20;

absl::Status StillFits(int64_t peak, int64_t free, c10::DeviceType type = c10::kCUDA) {
  return CheckStillFits(peak, c10::Device(type, type == c10::kCUDA ? 0 : -1), TestProcess(),
                        FakeGpus({{"a card", 9, 0, "uuid"}}, free));
}

TEST(CheckStillFits, CountsWhatIsAllocatedAlready) {
  const int64_t held = TotalMemory().current_bytes;
  const int64_t peak = held + 100 * kMib;
  EXPECT_TRUE(StillFits(peak, 102 * kMib + held).ok());
  const absl::Status status = StillFits(peak, 80 * kMib);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("before weights are read"));
  const bool several = TestProcess().world_size() > 1;
  EXPECT_EQ(std::string(status.message()).find("NCCL") != std::string::npos, several);
}

TEST(CheckStillFits, AllRanksEndWhereOneHasTooLittle) {
  const bool last = TestProcess().rank() == TestProcess().world_size() - 1;
  EXPECT_FALSE(StillFits(TotalMemory().current_bytes + 100 * kMib, last ? kMib : 900 * kMib).ok());
}

TEST(CheckStillFits, JudgesNothingThatIsNotKnown) {
  EXPECT_TRUE(StillFits(0, 0).ok()) << "no plan";
  EXPECT_TRUE(StillFits(900 * kMib, 0, c10::kCPU).ok()) << "the host's memory was judged whole";
}

TEST(CheckSameChoice, NeedsEqualCardsAlongTensorParallelRanks) {
  LlamaShape shape = TinyShape(/*tied=*/false, /*layers=*/2);
  const ModelSpec dense = LlamaLike(shape);
  shape.moe = {.experts = 4, .top_k = 2, .intermediate_size = 12};
  const ModelSpec mixture = LlamaLike(shape);
  const MeshShape tensor = {.tp = 2, .pp = 2};
  EXPECT_TRUE(CheckSameChoice(mixture, tensor, {"a", "a", "b", "b"}).ok());
  EXPECT_TRUE(CheckSameChoice(dense, tensor, {"a", "b", "a", "b"}).ok());
  EXPECT_TRUE(CheckSameChoice(mixture, {.pp = 2}, {"a", "b"}).ok());
  const absl::Status status = CheckSameChoice(mixture, tensor, {"a", "a", "a", "b"});
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("ranks 2 and 3 have different GPUs, a and b"));
}

}  // namespace
}  // namespace fttrain
