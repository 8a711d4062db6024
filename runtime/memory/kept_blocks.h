// Large blocks of host memory, which are kept when they are given back and taken again. A training
// step frees and asks for the same large blocks over and over; from the system each would come with
// every page to be zeroed and mapped anew, some percent of a step, and from a heap that keeps what
// is freed, holes between blocks of different sizes are a fifth and more of what is resident.
#pragma once

#include <cstdint>
#include <mutex>
#include <vector>

namespace fttrain {

// Smaller ones are the heap's.
inline constexpr int64_t kLargeBlockBytes = 1 << 20;

// Blocks of whole pages. All that is kept, with what is taken, is at no time more than what was
// taken at most since the last Release: as much of it as does not fit below that goes back to the
// system, of the blocks kept longest. Of any thread.
class KeptBlocks {
 public:
  // `bytes` at the start of a page; what is in them is anything. A kept block of that size, or one
  // of half to one and a half times it with pages put to it or cut off (mremap(2)), or a new one.
  // Null where there is none.
  void* Take(int64_t bytes) noexcept;
  // As it was taken, with the same bytes.
  void Give(void* block, int64_t bytes) noexcept;
  // Back to the system with all that is kept; what is taken now is the most from here on.
  void Release() noexcept;

  int64_t taken_bytes() const noexcept;
  int64_t kept_bytes() const noexcept;

 private:
  struct Block {
    void* data;
    int64_t bytes;
  };

  // Back to the system with what is kept but for `most_kept`.
  void Drop(int64_t most_kept) noexcept;

  mutable std::mutex mutex_;
  std::vector<Block> kept_;  // the longest kept first
  int64_t kept_bytes_ = 0, taken_bytes_ = 0, most_taken_bytes_ = 0;
};

}  // namespace fttrain
