// That a faulty kernel is seen: each fault beside the same kernel without it.
#include "tests/cuda_on_host/grid.h"

#include <gmock/gmock.h>

#include <cmath>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/cuda_on_host/faulty.h"
#include "tests/cuda_on_host/guarded.h"

namespace fttrain::cuda_on_host {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

constexpr Placement kAtEnd = {true, true}, kAtBegin = {false, true};

std::vector<float> Ascending(int count) {
  std::vector<float> values(static_cast<size_t>(count));
  for (int i = 0; i < count; ++i) values[static_cast<size_t>(i)] = static_cast<float>(i);
  return values;
}

class FaultyKernel : public testing::Test {
 protected:
  template <class Call>
  void ExpectError(const Call& call, const std::string& kernel, const std::string& text) const {
    EXPECT_THAT(call, ThrowsMessage<std::runtime_error>(
                          AllOf(HasSubstr("CUDA kernel " + kernel + ": block"), HasSubstr("seed"),
                                HasSubstr(text))));
  }
  const Guarded<float> in_{"in", Ascending(256), kAtEnd}, out_{"out", Ascending(256), kAtEnd};
};

TEST_F(FaultyKernel, WithoutABarrierReadsGarbage) {
  ReverseBlock(in_.data(), out_.data(), true);
  std::vector<float> want = Ascending(256);
  std::reverse(want.begin(), want.end());
  EXPECT_EQ(out_.Values(), want);
  ReverseBlock(in_.data(), out_.data(), false);
  EXPECT_THAT(out_.Values(), Contains(testing::IsNan()));
}

TEST_F(FaultyKernel, ThatReusesSharedMemoryTooEarlyIsWrong) {
  const std::vector<float> want(8 * 256, 3 * 255 * 128);
  const Guarded<float> sums("sums", want, kAtEnd);
  SumTwice(in_.data(), sums.data(), true);
  EXPECT_EQ(sums.Values(), want);
  SumTwice(in_.data(), sums.data(), false);
  EXPECT_NE(sums.Values(), want);
}

TEST_F(FaultyKernel, ThatWritesBeforeOtherLanesReadIsWrong) {
  for (const bool with_meeting : {true, false}) {
    const Guarded<float> values("values", std::vector<float>(32, 1), kAtEnd);
    ReadThenWrite(values.data(), out_.data(), with_meeting);
    const std::vector<float> read(out_.data(), out_.data() + 32);
    EXPECT_EQ(read == std::vector<float>(32, 1), with_meeting);
  }
}

TEST_F(FaultyKernel, BeyondABufferIsNamed) {
  Shifted(in_.data(), out_.data(), 0);
  EXPECT_EQ(out_.Values(), Ascending(256));
  ExpectError([&] { Shifted(in_.data(), out_.data(), 1); }, "Shifted",
              "access to byte 1024 of in, which has 1024");
  const Guarded<float> after("after", Ascending(256), kAtBegin);
  ExpectError([&] { Shifted(after.data(), out_.data(), -1); }, "Shifted",
              "access to byte -4 of after, which has 1024");
  Shifted(in_.data(), out_.data(), 0);  // the grid is as before
  EXPECT_EQ(out_.Values(), Ascending(256));
}

TEST_F(FaultyKernel, ThatWritesBesideABufferInItsPageIsSeen) {
  const Guarded<float> shorter("shorter", Ascending(255), kAtEnd);  // 4 bytes to the page's end
  Shifted(in_.data(), shorter.data(), 0);
  EXPECT_THAT([&] { shorter.Values(); },
              ThrowsMessage<std::runtime_error>("shorter: bytes beside it were written"));
}

TEST_F(FaultyKernel, WithAMisalignedPackIsNamed) {
  CopyPacks(in_.data(), out_.data());
  const Guarded<float> shifted("shifted", Ascending(64), {true, false});
  ExpectError([&] { CopyPacks(shifted.data(), out_.data()); }, "CopyPacks", "misaligned access");
  ExpectError([&] { CopyPacks(in_.data(), shifted.data()); }, "CopyPacks", "misaligned access");
}

TEST_F(FaultyKernel, BeyondAnArrayOfKnownSizeIsNamed) {
  SharedIndex(out_.data(), 31);
  ExpectError([&] { SharedIndex(out_.data(), 32); }, "SharedIndex", "index 32 beyond an array");
}

TEST_F(FaultyKernel, WithALaneMissingFromAMaskIsNamed) {
  WarpSum(in_.data(), out_.data(), 32, 0xffffffffU);
  EXPECT_EQ(out_.Values()[40], 32 * 32 + 31 * 16);
  ExpectError([&] { WarpSum(in_.data(), out_.data(), 31, 0xffffffffU); }, "WarpSum", "ended");
  ExpectError([&] { WarpSum(in_.data(), out_.data(), 32, 0x7fffffffU); }, "WarpSum", "the mask");
  ExpectError([&] { WarpSum(in_.data(), out_.data(), 16, 0xffffU); }, "WarpSum", "the mask");
}

TEST_F(FaultyKernel, WhoseThreadsDoNotAllComeToABarrierIsNamed) {
  Barrier(out_.data(), 64, false);
  ExpectError([&] { Barrier(out_.data(), 48, true); }, "Barrier", "diverged");
  EXPECT_THAT([&] { Barrier(out_.data(), 48, false); },
              ThrowsMessage<std::runtime_error>(AllOf(
                  HasSubstr("16 ended"), HasSubstr("48 wait in __syncthreads at faulty.cu"))));
}

TEST(Grid, VotesAndAtomicsCountEveryLane) {
  const Guarded<unsigned> votes("votes", std::vector<unsigned>(32), kAtEnd);
  const Guarded<int> sum("sum", {0}, kAtEnd);
  Vote(votes.data(), sum.data());
  EXPECT_EQ(votes.Values(), std::vector<unsigned>(32, 0x55555555U));
  EXPECT_EQ(sum.Values()[0], 31 * 16);
}

TEST(Grid, RefusesWhatADeviceRefuses) {
  Nothing(1, 1024);
  for (const auto& [blocks, threads] : {std::pair(0, 32), std::pair(1, 0), std::pair(1, 1025)}) {
    EXPECT_THAT(
        ([blocks = blocks, threads = threads] {
          Nothing(static_cast<unsigned>(blocks), static_cast<unsigned>(threads));
        }),
        ThrowsMessage<std::runtime_error>("CUDA kernel Nothing: invalid configuration argument"));
  }
}

}  // namespace
}  // namespace fttrain::cuda_on_host
