#include "parallel/storage/disk_source.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <functional>
#include <future>
#include <mutex>
#include <thread>
#include <utility>

#include "parallel/storage/arrival.h"
#include "runtime/memory/host.h"
#include "runtime/memory/rehearsal.h"
#include "runtime/memory/staging.h"

namespace fttrain {
namespace {

constexpr int64_t kMostPieceBytes = int64_t{32} << 20;

int64_t PieceBytes(int64_t largest_bytes) { return std::min(kMostPieceBytes, largest_bytes); }

}  // namespace

int64_t DiskReaderBytes(int64_t largest_bytes) { return 2 * PieceBytes(largest_bytes); }

class DiskReader {
 public:
  DiskReader(c10::Device device, int64_t piece_bytes)
      : stream_(MakeCopyStream(device)),
        staging_({EmptyOnHost({piece_bytes}, at::kByte, device),
                  EmptyOnHost({piece_bytes}, at::kByte, device)},
                 device),
        thread_([this] { Run(); }) {}
  ~DiskReader() {
    {
      const std::lock_guard lock(mutex_);
      ended_ = true;
    }
    wake_.notify_one();
    thread_.join();
  }
  DiskReader(const DiskReader&) = delete;
  DiskReader& operator=(const DiskReader&) = delete;

  const std::optional<c10::Stream>& stream() const { return stream_; }
  // Of the jobs alone.
  Staging& staging() { return staging_; }

  // Does `job` on the thread, after those before. What it throws is the future's.
  std::shared_future<void> Do(std::function<void()> job) {
    std::packaged_task<void()> task(std::move(job));
    std::shared_future<void> done = task.get_future().share();
    {
      const std::lock_guard lock(mutex_);
      jobs_.push_back(std::move(task));
    }
    wake_.notify_one();
    return done;
  }

 private:
  void Run() {
    // A thread that has chosen no device would open the first one, which is another rank's.
    const c10::OptionalStreamGuard chosen(stream_);
    for (;;) {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [this] { return ended_ || !jobs_.empty(); });
      if (ended_) return;  // every source has waited for its own
      std::packaged_task<void()> job = std::move(jobs_.front());
      jobs_.pop_front();
      lock.unlock();
      job();
    }
  }

  std::optional<c10::Stream> stream_;  // CUDA only
  Staging staging_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::deque<std::packaged_task<void()>> jobs_;
  bool ended_ = false;
  std::thread thread_;  // last: it uses the others
};

namespace {

class DiskSource final : public ValueSource {
 public:
  DiskSource(std::unique_ptr<NamelessFile> file, std::shared_ptr<DiskReader> reader)
      : file_(std::move(file)), reader_(std::move(reader)), arrival_(reader_->stream()) {}
  ~DiskSource() override {
    if (!read_.valid()) return;
    unwanted_ = true;
    read_.wait();
  }

  std::optional<c10::Stream> stream() const override { return arrival_.stream(); }
  bool waits_on_host() const override { return true; }
  void Start(const at::Tensor& window) override {
    arrival_.Ready();
    window_ = window;
    read_ = reader_->Do([this] { Read(); });
  }
  void Wait() override {
    read_.wait();
    window_.reset();
    read_.get();
    arrival_.Wait();
  }
  at::Tensor OnHost() override {
    const at::Tensor bytes = EmptyOnHost({file_->bytes()}, at::kByte, at::kCPU);
    file_->Read(0, file_->bytes(), static_cast<char*>(bytes.data_ptr()));
    return bytes;
  }
  void Store(const at::Tensor& window) override {
    const at::Tensor bytes = window.cpu();
    file_->Write(0, file_->bytes(), static_cast<const char*>(bytes.const_data_ptr()));
  }

 private:
  // On the reader's thread.
  void Read() {
    if (IsRehearsal()) return;
    const c10::OptionalStreamGuard guard = arrival_.Begin();
    Staging& staging = reader_->staging();
    for (int64_t begin = 0; begin < window_.numel() && !unwanted_;) {
      const at::Tensor& buffer = staging.Take();
      const int64_t count = std::min(buffer.numel(), window_.numel() - begin);
      file_->Read(begin, count, static_cast<char*>(buffer.data_ptr()));
      const at::Tensor to = window_.narrow(0, begin, count);
      if (stream()) {
        to.copy_(buffer.narrow(0, 0, count), /*non_blocking=*/true);
      } else {  // ATen would give this thread helpers of its own
        std::memcpy(to.data_ptr(), buffer.const_data_ptr(), static_cast<size_t>(count));
      }
      staging.Used();
      begin += count;
    }
    arrival_.Arrived();
  }

  std::unique_ptr<NamelessFile> file_;
  std::shared_ptr<DiskReader> reader_;
  at::Tensor window_;  // from Start to Wait, which gives it up: not the thread, at some later time
  std::atomic<bool> unwanted_{false};
  std::shared_future<void> read_;
  Arrival arrival_;  // last: it waits for copies from the reader's buffers to the window
};

}  // namespace

std::shared_ptr<DiskReader> MakeDiskReader(c10::Device device, int64_t largest_bytes) {
  return std::make_shared<DiskReader>(device, PieceBytes(largest_bytes));
}

std::unique_ptr<ValueSource> MakeDiskSource(std::unique_ptr<NamelessFile> file,
                                            std::shared_ptr<DiskReader> reader) {
  return std::make_unique<DiskSource>(std::move(file), std::move(reader));
}

}  // namespace fttrain
