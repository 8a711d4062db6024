// Memory that ranks of one host share, and the wait for a peer that writes there. .cc files of
// runtime/ only.
#pragma once

#include <mpi.h>
#include <sched.h>

#include <atomic>
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

// Returns once done() is true. While it waits it calls poll() now and then, so that other
// operations of this process get on, and offers its core to others.
template <typename Done, typename Poll>
void WaitUntil(const Done& done, const Poll& poll) {
  // A few microseconds. No pause instruction in between: in a virtual machine each costs more than
  // the whole exchange of a small tensor.
  constexpr int kLooksBeforeYield = 4000;
  for (int looks = 0; !done(); ++looks) {
    if (looks < kLooksBeforeYield) continue;
    poll();
    sched_yield();
  }
}

}  // namespace fttrain
