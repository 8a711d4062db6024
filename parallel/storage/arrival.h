// Copies on a stream of their own, which the current stream waits for. For the sources of values.
#pragma once

#include <c10/core/Event.h>
#include <c10/core/StreamGuard.h>
#include <c10/util/Exception.h>

#include <optional>

#include "runtime/memory/current_stream.h"

namespace fttrain {

// Without a stream (a CPU) whoever copies has copied when the call returns, and nothing waits.
// In turn: Ready, Begin, Arrived, Wait, and again.
class Arrival {
 public:
  explicit Arrival(std::optional<c10::Stream> stream) : stream_(stream) {
    if (!stream) return;
    ready_.emplace(stream->device_type());
    arrived_.emplace(stream->device_type());
  }
  // What was begun is done, for memory is given away; nothing is begun meanwhile.
  ~Arrival() {
    if (!begun_ || !stream_) return;
    try {
      stream_->synchronize();
    } catch (const c10::Error&) {  // the device has failed: nothing copies any more
    }
  }
  Arrival(const Arrival&) = delete;
  Arrival& operator=(const Arrival&) = delete;

  const std::optional<c10::Stream>& stream() const { return stream_; }
  // The memory that is copied to is free once the current stream has done what it has so far: it
  // comes from that stream's pool, where earlier owners may still use it.
  void Ready() {
    if (stream_) ready_->record(CurrentStream(stream_->device()));
  }
  // Copies are enqueued from here on, perhaps by another thread, while the guard lives.
  [[nodiscard]] c10::OptionalStreamGuard Begin() {
    if (stream_) ready_->block(*stream_);
    begun_ = true;
    return c10::OptionalStreamGuard(stream_);
  }
  // All are enqueued.
  void Arrived() {
    if (stream_) arrived_->record(*stream_);
  }
  // What the current stream does from here on is ordered after them.
  void Wait() {
    if (stream_) arrived_->block(CurrentStream(stream_->device()));
  }

 private:
  std::optional<c10::Stream> stream_;
  std::optional<c10::Event> ready_, arrived_;  // with a stream
  bool begun_ = false;
};

}  // namespace fttrain
