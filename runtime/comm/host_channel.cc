#include "runtime/comm/host_channel.h"

#include <c10/util/Exception.h>

#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "runtime/math/ceil_divide.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

// A line before each place says how long its message is.
int64_t Stride(int64_t place_bytes) {
  return kAlignmentBytes + RoundUp(place_bytes, kAlignmentBytes);
}

}  // namespace

std::unique_ptr<HostChannel> HostChannel::Create(MPI_Comm pair, int places, int64_t place_bytes,
                                                 std::function<void()> poll) {
  auto segment = SharedSegment::Create(pair, 2 * kAlignmentBytes + places * Stride(place_bytes));
  if (segment == nullptr) return nullptr;
  return std::unique_ptr<HostChannel>(
      new HostChannel(std::move(segment), places, place_bytes, std::move(poll)));
}

std::unique_ptr<HostChannel> HostChannel::Silent(int places, int64_t place_bytes) {
  return std::unique_ptr<HostChannel>(new HostChannel(nullptr, places, place_bytes, {}));
}

HostChannel::HostChannel(std::unique_ptr<SharedSegment> segment, int places, int64_t place_bytes,
                         std::function<void()> poll)
    : segment_(std::move(segment)),
      places_(static_cast<uint64_t>(places)),
      place_bytes_(place_bytes),
      poll_(std::move(poll)) {}

std::atomic<uint64_t>& HostChannel::Sent() const { return segment_->CounterAt(0); }
std::atomic<uint64_t>& HostChannel::Taken() const { return segment_->CounterAt(kAlignmentBytes); }

char* HostChannel::PlaceOf(uint64_t message) const {
  return segment_->data() + 2 * kAlignmentBytes +
         static_cast<int64_t>(message % places_) * Stride(place_bytes_);
}

void HostChannel::Send(const void* data, int64_t bytes) {
  TORCH_CHECK(bytes <= place_bytes_, "a message of ", bytes, " bytes for places of ", place_bytes_);
  if (segment_ == nullptr) return;
  WaitUntil([&] { return messages_ - Taken().load(std::memory_order_acquire) < places_; }, poll_);
  char* place = PlaceOf(messages_);
  std::memcpy(place, &bytes, sizeof(bytes));
  if (bytes > 0) std::memcpy(place + kAlignmentBytes, data, static_cast<size_t>(bytes));
  Sent().store(++messages_, std::memory_order_release);
}

void HostChannel::Receive(void* data, int64_t bytes) {
  if (segment_ == nullptr) return;
  WaitUntil([&] { return Sent().load(std::memory_order_acquire) > messages_; }, poll_);
  const char* place = PlaceOf(messages_);
  int64_t sent = 0;
  std::memcpy(&sent, place, sizeof(sent));
  if (sent != bytes) {
    throw CommError(
        absl::StrCat("a message of ", sent, " bytes came where ", bytes, " were expected"));
  }
  if (bytes > 0) std::memcpy(data, place + kAlignmentBytes, static_cast<size_t>(bytes));
  Taken().store(++messages_, std::memory_order_release);
}

}  // namespace fttrain
