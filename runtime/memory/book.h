// The counters behind memory/ledger.h, for the allocators of runtime/ alone.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "runtime/memory/ledger.h"

namespace fttrain {

// One place's counters. Lock-free; peaks are exact for one allocating thread and never below what
// any thread saw.
class MemoryBook {
 public:
  void Add(MemoryCategory category, int64_t bytes) noexcept;
  void Remove(MemoryCategory category, int64_t bytes) noexcept;
  MemoryUse Of(MemoryCategory category) const noexcept;
  MemoryUse Total() const noexcept;
  void ResetPeaks() noexcept;

 private:
  struct Counter {
    std::atomic<int64_t> current{0};
    std::atomic<int64_t> peak{0};
  };
  static constexpr size_t kCategories = static_cast<size_t>(MemoryCategory::kCount);
  std::array<Counter, kCategories> counters_;
  Counter total_;
};

// Tensors of the CPU allocator take no more than `bytes` from now on.
void LimitHostBook(int64_t bytes) noexcept;

// Category of allocations on this thread.
MemoryCategory CurrentMemoryCategory() noexcept;

// The GPU's book; the first call makes it the one that MemoryPlace::kDevice means.
MemoryBook& UseDeviceBook();
// Whether it does; and for a rehearsal, which had none before, that it no longer does.
bool CountsDevice() noexcept;
void LeaveDeviceBook() noexcept;
// The book of host memory that is not the device's (EmptyOnHost). Ask again for each allocation.
MemoryBook& HostBook();

}  // namespace fttrain
