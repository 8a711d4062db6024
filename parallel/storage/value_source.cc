#include "parallel/storage/value_source.h"

#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <utility>

#include "runtime/memory/current_stream.h"

namespace fttrain {
namespace {

class GatherSource final : public ValueSource {
 public:
  GatherSource(std::unique_ptr<ValueSource> shard, Communicator& dp)
      : shard_(std::move(shard)), dp_(dp) {}
  bool waits_on_host() const override { return shard_->waits_on_host(); }
  void Start(const at::Tensor& window) override {
    shard_->Start(PartOf(window));
    if (waits_on_host()) {
      window_ = window;
    } else {
      Gather(window);
    }
  }
  void Wait() override {
    if (window_.defined()) Gather(window_);
    window_.reset();
    work_->Wait();
    work_.reset();
  }
  void Store(const at::Tensor& window) override { shard_->Store(PartOf(window)); }

 private:
  void Gather(const at::Tensor& window) {
    // The all_gather is ordered after the copy on its stream: what is enqueued on the current one
    // meanwhile must not wait for it.
    const c10::OptionalStreamGuard guard(shard_->stream());
    shard_->Wait();
    work_ = dp_.AllGatherAsync(PartOf(window), window);
  }
  at::Tensor PartOf(const at::Tensor& window) const {
    const int64_t part = window.numel() / dp_.size();
    return window.narrow(0, dp_.rank() * part, part);
  }

  std::unique_ptr<ValueSource> shard_;
  Communicator& dp_;
  std::unique_ptr<Work> work_;
  at::Tensor window_;  // started and not gathered yet
};

// The window's memory comes from the current stream's pool, where earlier owners may still use it:
// the copy waits for what is enqueued there. It is freed there too, after Wait.
class CopySource final : public ValueSource {
 public:
  CopySource(at::Tensor bytes, std::optional<c10::Stream> stream)
      : bytes_(std::move(bytes)), stream_(stream) {
    if (!stream) return;
    ready_.emplace(stream->device_type());
    arrived_.emplace(stream->device_type());
  }
  ~CopySource() override {
    if (!started_ || !arrived_) return;
    try {
      arrived_->synchronize();     // the memory is given away
    } catch (const c10::Error&) {  // the device has failed: nothing copies any more
    }
  }
  std::optional<c10::Stream> stream() const override { return stream_; }
  void Start(const at::Tensor& window) override {
    if (!stream_) {
      window.copy_(bytes_);
      return;
    }
    ready_->record(CurrentStream(stream_->device()));
    ready_->block(*stream_);
    const c10::StreamGuard guard(*stream_);
    window.copy_(bytes_, /*non_blocking=*/true);
    arrived_->record(*stream_);
    started_ = true;
  }
  void Wait() override {
    if (stream_) arrived_->block(CurrentStream(stream_->device()));
  }
  at::Tensor OnHost() override { return bytes_.is_cpu() ? bytes_ : at::Tensor(); }
  void Store(const at::Tensor& window) override {
    if (!window.is_same(bytes_)) bytes_.copy_(window);
  }

 private:
  at::Tensor bytes_;
  std::optional<c10::Stream> stream_;
  std::optional<c10::Event> ready_, arrived_;  // with a stream
  bool started_ = false;
};

}  // namespace

std::unique_ptr<ValueSource> MakeGatherSource(std::unique_ptr<ValueSource> shard,
                                              Communicator& dp) {
  return std::make_unique<GatherSource>(std::move(shard), dp);
}

std::optional<c10::Stream> MakeCopyStream(c10::Device device) {
  if (!device.is_cuda()) return std::nullopt;
  return c10::impl::VirtualGuardImpl(device.type()).getStreamFromGlobalPool(device);
}

std::unique_ptr<ValueSource> MakeCopySource(at::Tensor bytes, std::optional<c10::Stream> stream) {
  return std::make_unique<CopySource>(std::move(bytes), stream);
}

}  // namespace fttrain
