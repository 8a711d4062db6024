// Values that a thread reads from the disk while others are used. With FTTRAIN_TEST_DEVICE=cuda
// they are copied on a stream of their own.
#include "parallel/storage/disk_source.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "runtime/memory/ledger.h"
#include "tests/test_device.h"

namespace fttrain {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

constexpr int64_t kPiece = 64;

// What files were asked, in order.
class Log {
 public:
  void Add(std::string read) {
    const std::lock_guard lock(mutex_);
    reads_.push_back(std::move(read));
    added_.notify_all();
  }
  std::vector<std::string> reads() const {
    const std::lock_guard lock(mutex_);
    return reads_;
  }
  bool WaitFor(const std::string& read) const {
    std::unique_lock lock(mutex_);
    return added_.wait_for(lock, std::chrono::seconds(20), [&] {
      return std::find(reads_.begin(), reads_.end(), read) != reads_.end();
    });
  }

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable added_;
  std::vector<std::string> reads_;
};

// Byte i is name + i; `before` may hold a read up or fail.
class ScriptedFile : public NamelessFile {
 public:
  ScriptedFile(char name, int64_t bytes, Log& log, std::function<void(int64_t)> before)
      : NamelessFile(testing::TempDir(), bytes),
        name_(name),
        log_(log),
        before_(std::move(before)) {}
  void Read(int64_t begin, int64_t count, char* out) override {
    log_.Add(name_ + std::to_string(begin));
    if (before_) before_(begin);
    for (int64_t i = 0; i < count; ++i) out[i] = static_cast<char>(name_ + begin + i);
  }

 private:
  char name_;
  Log& log_;
  std::function<void(int64_t)> before_;
};

at::Tensor Window(int64_t bytes) {
  return at::zeros({bytes}, at::TensorOptions(at::kByte).device(TestDevice()));
}

void ExpectHolds(const at::Tensor& window, char name) {
  const at::Tensor want = at::arange(window.numel(), at::kLong).add(name).to(at::kByte);
  EXPECT_TRUE(at::equal(window.cpu(), want)) << name;
}

class DiskSource : public ::testing::Test {
 protected:
  std::unique_ptr<ValueSource> Source(char name, int64_t bytes,
                                      std::function<void(int64_t)> before = {}) {
    return MakeDiskSource(std::make_unique<ScriptedFile>(name, bytes, log_, std::move(before)),
                          reader_);
  }
  Log log_;
  std::shared_ptr<DiskReader> reader_ = MakeDiskReader(TestDevice(), kPiece);
};

TEST_F(DiskSource, FillsWindowsOfAnySizeThroughTwoSmallBuffers) {
  for (const int64_t bytes : {int64_t{0}, kPiece - 1, kPiece, 7 * kPiece, 7 * kPiece + 1}) {
    const auto source = Source('a', bytes);
    for (int time = 0; time < 2; ++time) {
      const at::Tensor window = Window(bytes);
      source->Start(window);
      source->Wait();
      ExpectHolds(window, 'a');
    }
  }
}

TEST_F(DiskSource, ReadsTheNextWindowWhileOneIsUsedInTheOrderOfStarts) {
  std::mutex held;
  const auto first = Source('a', 2 * kPiece),
             second = Source('b', 2 * kPiece, [&](int64_t) { const std::lock_guard wait(held); }),
             third = Source('c', 1);
  const at::Tensor a = Window(2 * kPiece), b = Window(2 * kPiece), c = Window(1);
  first->Start(a);
  first->Wait();
  {
    const std::lock_guard hold(held);
    second->Start(b);  // returns though the disk does not answer
    third->Start(c);
    EXPECT_TRUE(log_.WaitFor("b0")) << "nobody reads while the first is in use";
    ExpectHolds(a, 'a');
  }
  third->Wait();
  second->Wait();
  ExpectHolds(b, 'b');
  ExpectHolds(c, 'c');
  EXPECT_THAT(log_.reads(), ElementsAre("a0", "a64", "b0", "b64", "c0"));
}

TEST_F(DiskSource, AReadThatFailsIsAnErrorOfItsWaitAlone) {
  const auto bad = Source('a', 3 * kPiece, [](int64_t begin) {
    TORCH_CHECK(begin < kPiece, "cannot read 64 bytes from 64: Input/output error");
  });
  const auto good = Source('b', kPiece);
  const at::Tensor a = Window(3 * kPiece), b = Window(kPiece);
  bad->Start(a);
  good->Start(b);
  for (int time = 0; time < 2; ++time) {
    EXPECT_THAT([&] { bad->Wait(); }, ThrowsMessage<c10::Error>(HasSubstr("Input/output error")));
  }
  good->Wait();
  ExpectHolds(b, 'b');
  EXPECT_THAT(log_.reads(), ElementsAre("a0", "a64", "b0"));
}

TEST_F(DiskSource, GivesUpWhatIsNotReadWhenItIsDestroyed) {
  constexpr int kPieces = 200;
  const auto slow = [](int64_t) { std::this_thread::sleep_for(std::chrono::milliseconds(5)); };
  {
    const auto next = Source('b', kPiece);
    const auto source = Source('a', kPieces * kPiece, slow);
    source->Start(Window(kPieces * kPiece));
    next->Start(Window(kPiece));
    EXPECT_TRUE(log_.WaitFor("a64"));
  }
  reader_.reset();
  const std::vector<std::string> reads = log_.reads();
  EXPECT_LT(reads.size(), static_cast<size_t>(kPieces));
}

TEST_F(DiskSource, TheWindowIsNobodysAfterWait) {
  const auto source = Source('a', kPiece);
  for (int time = 0; time < 100; ++time) {
    at::Tensor window = Window(kPiece);
    source->Start(window);
    source->Wait();
    EXPECT_EQ(window.use_count(), 1u);
  }
}

TEST(DiskReader, ItsBuffersAreNoLargerThanWhatIsRead) {
  const auto on_host = [] {
    return MemoryOf(MemoryCategory::kWeights, MemoryPlace::kHost).current_bytes;
  };
  EXPECT_EQ(DiskReaderBytes(1000), 2000);
  EXPECT_EQ(DiskReaderBytes(int64_t{1} << 40), int64_t{64} << 20);
  const int64_t before = on_host();
  {
    const MemoryScope scope(MemoryCategory::kWeights);
    const auto reader = MakeDiskReader(TestDevice(), 1000);
    EXPECT_EQ(on_host() - before, 2000);
  }
  EXPECT_EQ(on_host(), before);
}

}  // namespace
}  // namespace fttrain
