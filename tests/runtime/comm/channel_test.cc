// Ranks 0 and 1, 2 and 3 are pairs; the even rank sends. The last of an odd number takes no part.
#include "runtime/comm/channel.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>

#include <chrono>
#include <random>
#include <thread>

#include "runtime/comm/backends.h"
#include "runtime/process/check.h"
#include "runtime/process/device.h"
#include "tests/mpi_test_main.h"
#include "tests/runtime/comm/rendezvous.h"

namespace fttrain {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

constexpr int kPlaces = 2;
constexpr int64_t kPlaceBytes = 4096;
#if defined(FTTRAIN_TEST_NCCL)
constexpr CommBackend kBackend = CreateNcclCommunicator;
constexpr DeviceKind kDevice = DeviceKind::kCuda;
#elif defined(FTTRAIN_TEST_RENDEZVOUS)
constexpr CommBackend kBackend = CreateRendezvousCommunicator;
constexpr DeviceKind kDevice = DeviceKind::kCpu;
#elif defined(FTTRAIN_TEST_CUDA)
constexpr CommBackend kBackend = CreateMpiCommunicator;
constexpr DeviceKind kDevice = DeviceKind::kCuda;
#else
constexpr CommBackend kBackend = CreateMpiCommunicator;
constexpr DeviceKind kDevice = DeviceKind::kCpu;
#endif

class OneWay : public ::testing::Test {
 protected:
  OneWay() {
    const auto device = SelectDevice(kDevice, TestProcess());
    EXPECT_TRUE(device.ok()) << device.status();
    device_ = *device;
    auto channel = Create();
    EXPECT_TRUE(channel.ok()) << channel.status();
    channel_ = *std::move(channel);
    EXPECT_EQ(channel_ == nullptr, Color() < 0);
    sends_ = Color() >= 0 && Rank() % 2 == 0;
    receives_ = Color() >= 0 && Rank() % 2 == 1;
  }
  static int Rank() { return TestProcess().rank(); }
  static int Color() { return (Rank() ^ 1) < TestProcess().world_size() ? Rank() / 2 : -1; }
  static absl::StatusOr<std::unique_ptr<Channel>> Create() {
    return CreateChannel(kBackend, TestProcess(), Color(),
                         Rank() % 2 == 0 ? Channel::End::kSender : Channel::End::kReceiver,
                         {"test", kPlaces, kPlaceBytes});
  }
  // The i-th message of a test.
  at::Tensor Message(int i, int64_t numel) const {
    return at::full({numel}, i, at::TensorOptions(at::kFloat).device(device_));
  }
  MessageSpec Spec(int64_t numel) const {
    return {{numel}, at::TensorOptions(at::kFloat).device(device_), MemoryCategory::kSaved};
  }
  void ExpectMessage(int i, int64_t numel) {
    const at::Tensor got = channel_->Take();
    EXPECT_TRUE(at::equal(got.cpu(), Message(i, numel).cpu())) << "message " << i;
  }
  // Sends, or takes with `ahead` posted, messages of the given lengths, pausing at random.
  void Exchange(const std::vector<int64_t>& lengths, int ahead, int longest_pause_us) {
    std::mt19937 random(static_cast<uint32_t>(TestProcess().rank()));
    const auto pause = [&] {
      if (longest_pause_us == 0) return;
      std::this_thread::sleep_for(
          std::chrono::microseconds(random() % static_cast<uint32_t>(longest_pause_us)));
    };
    const int count = static_cast<int>(lengths.size());
    int posted = 0;
    for (int i = 0; i < count && (sends_ || receives_); ++i) {
      pause();
      if (sends_) channel_->Send(Message(i, lengths[i]));
      for (; receives_ && posted < count && posted < i + ahead; ++posted) {
        channel_->Post(Spec(lengths[posted]));
      }
      if (receives_) ExpectMessage(i, lengths[i]);
    }
    if (sends_) channel_->FinishSends();
  }

  c10::Device device_{at::kCPU};
  std::unique_ptr<Channel> channel_;
  bool sends_ = false, receives_ = false;
};

TEST_F(OneWay, MessagesArriveInTheOrderSentWhateverTheDelays) {
  Exchange(std::vector<int64_t>(200, 600), kPlaces, 300);
  Exchange(std::vector<int64_t>(200, 600), 1, 0);
}

TEST_F(OneWay, LongAndShortMessagesKeepTheirOrder) {
  std::vector<int64_t> lengths;
  for (int i = 0; i < 60; ++i) lengths.push_back(i % 3 == 1 ? 70000 + i : 1 + i);
  Exchange(lengths, kPlaces, 200);
  Exchange(lengths, 1, 0);
}

TEST_F(OneWay, SendsAsManyAsThereArePlacesBeforeAnyIsTaken) {
  for (int i = 0; i < kPlaces && sends_; ++i) channel_->Send(Message(i, 1000));
  // Would never be reached if a send waited for its receive.
  TestProcess().Barrier();
  for (int i = 0; i < kPlaces && receives_; ++i) {
    channel_->Post(Spec(1000));
    ExpectMessage(i, 1000);
  }
  if (sends_) channel_->FinishSends();
}

TEST_F(OneWay, BytesAreCountedOnceByTheSender) {
  Exchange({100, 70000, 7}, kPlaces, 0);
  if (channel_ == nullptr) return;
  EXPECT_EQ(channel_->traffic().calls, 3);
  EXPECT_EQ(channel_->traffic().wire_bytes, sends_ ? 4 * (100 + 70000 + 7) : 0);
}

TEST_F(OneWay, EachEndRefusesTheOthersCalls) {
  if (sends_) {
    EXPECT_THROW(channel_->Post(Spec(4)), c10::Error);
  }
  if (!receives_) return;
  EXPECT_THROW(channel_->Send(Message(0, 4)), c10::Error);
  EXPECT_THROW(channel_->Take(), c10::Error);
}

#if defined(FTTRAIN_TEST_NCCL) || defined(FTTRAIN_TEST_RENDEZVOUS)
TEST_F(OneWay, IsRefusedWhereTheHostWaitsForEachOperation) {
  setenv("CUDA_LAUNCH_BLOCKING", "1", 1);
  const absl::Status status = Create().status();
  unsetenv("CUDA_LAUNCH_BLOCKING");
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(status.message(), HasSubstr("CUDA_LAUNCH_BLOCKING=1"));
}
#endif

#if !defined(FTTRAIN_TEST_NCCL) && \
    !defined(FTTRAIN_TEST_RENDEZVOUS)  // where the size of a message is not known
TEST_F(OneWay, AMessageOfAnotherSizeIsAnErrorOfTheReceiver) {
  if (sends_) channel_->Send(Message(0, 12));
  if (!receives_) return;
  channel_->Post(Spec(10));
  EXPECT_THAT([&] { channel_->Take(); },
              ThrowsMessage<CommError>(HasSubstr("a message of 48 bytes came where 40")));
}

TEST_F(OneWay, TheSenderWaitsWhileAllPlacesAreTaken) {
  using std::chrono::milliseconds;
  using std::chrono::steady_clock;
  if (receives_) {
    std::this_thread::sleep_for(milliseconds(200));
    for (int i = 0; i <= kPlaces; ++i) {
      channel_->Post(Spec(1000));
      ExpectMessage(i, 1000);
    }
  }
  if (!sends_) return;
  const auto begin = steady_clock::now();
  for (int i = 0; i < kPlaces; ++i) channel_->Send(Message(i, 1000));
  EXPECT_LT(steady_clock::now() - begin, milliseconds(100));
  channel_->Send(Message(kPlaces, 1000));
  EXPECT_GT(steady_clock::now() - begin, milliseconds(100));
}
#endif

}  // namespace
}  // namespace fttrain
