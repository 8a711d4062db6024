#include "runtime/comm/channel.h"

#include <ATen/ATen.h>

#include <cstdlib>
#include <utility>

#include "runtime/comm/host_channel.h"
#include "runtime/comm/pinned_staging.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

constexpr int kSenderRank = 0, kReceiverRank = 1;

at::Tensor Allocate(const MessageSpec& spec) {
  const MemoryScope scope(spec.category);
  return at::empty(spec.sizes, spec.options);
}

int64_t BytesOf(const MessageSpec& spec) {
  return c10::multiply_integers(spec.sizes) * static_cast<int64_t>(spec.options.dtype().itemsize());
}

// With CUDA_LAUNCH_BLOCKING, which one sets to look for an error, the host waits for each
// operation: a stage asks for nothing while it sends, and two that send wait for each other.
absl::Status CheckLaunches(const Communicator* pair) {
  const char* text = std::getenv("CUDA_LAUNCH_BLOCKING");
  const bool blocking = text != nullptr && text[0] == '1';
  if (pair == nullptr || !pair->OccupiesDevice() || !blocking) return absl::OkStatus();
  return absl::FailedPreconditionError(
      "CUDA_LAUNCH_BLOCKING=1: the stages of a pipeline over NCCL would wait for each other for "
      "ever; unset it, or look for the error with parallel.pipeline 1 or device: cpu");
}

}  // namespace

Channel::Channel(std::unique_ptr<Communicator> pair, std::unique_ptr<HostChannel> host,
                 const ChannelOptions& options)
    : pair_(std::move(pair)), host_(std::move(host)), places_(static_cast<size_t>(options.places)) {
  TORCH_CHECK(pair_->size() == 2, options.name, ": ", pair_->size(), " ranks are no pair");
  TORCH_CHECK(options.places >= 1, options.name, ": ", options.places, " places");
}

Channel::~Channel() = default;

// Both ends know the size of each message, so they choose the same way, and each takes them in the
// order sent.
bool Channel::ThroughHost(int64_t bytes) const {
  return host_ != nullptr && bytes <= host_->place_bytes();
}

void Channel::Send(const at::Tensor& tensor) {
  TORCH_CHECK(pair_->rank() == kSenderRank, "this end of channel ", pair_->axis(), " receives");
  TORCH_CHECK(tensor.is_contiguous(), "channel ", pair_->axis(), ": sizes ", tensor.sizes(),
              " are not contiguous");
  const auto bytes = static_cast<int64_t>(tensor.nbytes());
  const Activity::Waiting waits = pair_->Waits("send", bytes, kReceiverRank);
  if (ThroughHost(bytes)) {
    const at::Tensor host = tensor.is_cuda() ? OnHost(tensor) : tensor;
    host_->Send(host.const_data_ptr(), bytes);
    ++through_host_.calls;
    through_host_.wire_bytes += bytes;
    return;
  }
  if (sends_.size() == places_) {
    sends_.front()->Wait();
    sends_.pop_front();
  }
  sends_.push_back(pair_->SendAsync(tensor, kReceiverRank));
}

void Channel::FinishSends() {
  if (sends_.empty()) return;
  const Activity::Waiting waits = pair_->Waits("send", 0, kReceiverRank);
  for (const std::unique_ptr<Work>& send : sends_) send->Wait();
  sends_.clear();
}

void Channel::Post(MessageSpec spec) {
  TORCH_CHECK(pair_->rank() == kReceiverRank, "this end of channel ", pair_->axis(), " sends");
  const bool through_host = ThroughHost(BytesOf(spec));
  const at::Tensor buffer = through_host ? at::Tensor() : Allocate(spec);
  expected_.push_back({std::move(spec), through_host, buffer, nullptr});
}

void Channel::Ask() {
  for (Expected& expected : expected_) {
    if (expected.through_host || expected.work != nullptr) continue;
    expected.work = pair_->RecvAsync(expected.buffer, kSenderRank);
  }
}

at::Tensor Channel::ReceiveThroughHost(const MessageSpec& spec) {
  at::Tensor tensor = Allocate(spec);
  const auto bytes = static_cast<int64_t>(tensor.nbytes());
  at::Tensor host = tensor.is_cuda() ? PinnedLike(tensor) : tensor;
  host_->Receive(host.mutable_data_ptr(), bytes);
  if (tensor.is_cuda()) tensor.copy_(host, /*non_blocking=*/true);
  ++through_host_.calls;
  return tensor;
}

at::Tensor Channel::Take() {
  TORCH_CHECK(!expected_.empty(), "channel ", pair_->axis(), ": no message was posted");
  Ask();
  Expected expected = std::move(expected_.front());
  expected_.pop_front();
  const Activity::Waiting waits = pair_->Waits("recv", BytesOf(expected.spec), kSenderRank);
  if (expected.through_host) return ReceiveThroughHost(expected.spec);
  expected.work->Wait();
  return expected.buffer;
}

Traffic Channel::traffic() const {
  Traffic sum = pair_->traffic();
  sum.calls += through_host_.calls;
  sum.wire_bytes += through_host_.wire_bytes;
  return sum;
}

absl::StatusOr<std::unique_ptr<Channel>> CreateChannel(CommBackend backend, const Process& process,
                                                       int color, Channel::End end,
                                                       const ChannelOptions& options) {
  const int key = end == Channel::End::kSender ? kSenderRank : kReceiverRank;
  FT_ASSIGN_OR_RETURN(std::unique_ptr<Communicator> pair,
                      CreateCommunicator(backend, process,
                                         {.axis = options.name,
                                          .color = color,
                                          .key = key,
                                          .size = 2,
                                          .use = Communicator::Use::kMessages}));
  FT_RETURN_IF_ERROR(process.AgreeOnStatus(CheckLaunches(pair.get())));
  if (pair == nullptr) return nullptr;
  std::unique_ptr<HostChannel> host = pair->OpenHostChannel(options.places, options.place_bytes);
  return std::make_unique<Channel>(std::move(pair), std::move(host), options);
}

}  // namespace fttrain
