#include "parallel/storage/value_source.h"

#include <c10/core/impl/VirtualGuardImpl.h>

#include <utility>

#include "parallel/storage/arrival.h"

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

class CopySource final : public ValueSource {
 public:
  CopySource(at::Tensor bytes, std::optional<c10::Stream> stream)
      : bytes_(std::move(bytes)), arrival_(stream) {}
  std::optional<c10::Stream> stream() const override { return arrival_.stream(); }
  void Start(const at::Tensor& window) override {
    arrival_.Ready();
    const c10::OptionalStreamGuard guard = arrival_.Begin();
    window.copy_(bytes_, /*non_blocking=*/arrival_.stream().has_value());
    arrival_.Arrived();
  }
  void Wait() override { arrival_.Wait(); }
  at::Tensor OnHost() override { return bytes_.is_cpu() ? bytes_ : at::Tensor(); }
  void Store(const at::Tensor& window) override {
    if (!window.is_same(bytes_)) bytes_.copy_(window);
  }

 private:
  at::Tensor bytes_;
  Arrival arrival_;
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
