// Memory that ranks of one host share, and the wait for a peer that writes there. .cc files of
// runtime/ only.
#pragma once

#include <mpi.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>

namespace fttrain {

class SharedSegment {
 public:
  // `bytes` of zeros. Null on every rank unless all ranks of `comm` are on one host and each could
  // map them (a container's /dev/shm may be too small). Collective over `comm`.
  static std::unique_ptr<SharedSegment> Create(MPI_Comm comm, int64_t bytes);
  ~SharedSegment();
  SharedSegment(const SharedSegment&) = delete;
  SharedSegment& operator=(const SharedSegment&) = delete;

  char* data() const { return data_; }
  // Zeroed memory is a valid counter at 0.
  std::atomic<uint64_t>& CounterAt(int64_t offset) const {
    static_assert(std::atomic<uint64_t>::is_always_lock_free);
    return *reinterpret_cast<std::atomic<uint64_t>*>(data_ + offset);
  }

 private:
  SharedSegment(char* data, int64_t bytes) : data_(data), bytes_(bytes) {}
  char* data_;
  int64_t bytes_;
};

// What a rank does between two looks for a peer, so that one which waits long leaves its core to
// whoever has work: a peer, a thread, another program.
class Patience {
 public:
  // At first nothing: a few microseconds, and no pause instruction, which costs more in a virtual
  // machine than the whole exchange of a small tensor. Then the core is offered to others; after
  // milliseconds it sleeps, a small part of what it has waited for.
  void Pause() {
    if (!IsLong()) {
      ++looks_;
    } else {
      YieldOrSleep();
    }
  }
  // Whether other work of this rank is due meanwhile.
  bool IsLong() const { return looks_ >= kLooksBeforeYield; }

 private:
  static constexpr int kLooksBeforeYield = 4000;
  void YieldOrSleep();
  int looks_ = 0;
  std::chrono::steady_clock::time_point began_ = {};
};

// Returns once done() is true. While it waits it calls poll() now and then, so that other
// operations of this process get on.
template <typename Done, typename Poll>
void WaitUntil(const Done& done, const Poll& poll) {
  for (Patience patience; !done();) {
    if (patience.IsLong()) poll();
    patience.Pause();
  }
}

}  // namespace fttrain
