// Messages from one rank to another on its host through shared memory: the sender copies into a
// place and goes on, so that a message moves while both compute. A large message of MPI waits for
// the receiver, and then moves only while both are inside MPI.
#pragma once

#include <mpi.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

#include "runtime/comm/shared_segment.h"

namespace fttrain {

class HostChannel {
 public:
  // From rank 0 of `pair` to rank 1; `places` messages of at most `place_bytes` wait to be taken.
  // Null on both ranks where they cannot share memory. Collective over `pair`. While a rank waits
  // it calls `poll` now and then.
  static std::unique_ptr<HostChannel> Create(MPI_Comm pair, int places, int64_t place_bytes,
                                             std::function<void()> poll);

  // One that nobody is at the other end of: what is received has any values.
  static std::unique_ptr<HostChannel> Silent(int places, int64_t place_bytes);

  int64_t place_bytes() const { return place_bytes_; }
  // Rank 0. Returns when the bytes are copied; waits only while all places are taken.
  void Send(const void* data, int64_t bytes);
  // Rank 1. Waits for the next message and copies it. Throws CommError if it has not `bytes` bytes.
  void Receive(void* data, int64_t bytes);

 private:
  HostChannel(std::unique_ptr<SharedSegment> segment, int places, int64_t place_bytes,
              std::function<void()> poll);
  std::atomic<uint64_t>& Sent() const;
  std::atomic<uint64_t>& Taken() const;
  char* PlaceOf(uint64_t message) const;

  std::unique_ptr<SharedSegment> segment_;  // null: silent
  uint64_t places_;
  int64_t place_bytes_;
  std::function<void()> poll_;
  uint64_t messages_ = 0;  // of this end
};

}  // namespace fttrain
