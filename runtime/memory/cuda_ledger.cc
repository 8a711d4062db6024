#include "runtime/memory/cuda_ledger.h"

#include "runtime/memory/rehearsal.h"

#if defined(FTTRAIN_WITH_CUDA)
#include <c10/cuda/CUDACachingAllocator.h>

#include <mutex>
#include <unordered_map>

#include "runtime/memory/book.h"
#include "runtime/memory/uncounted.h"

namespace fttrain {
namespace {

namespace caching = c10::cuda::CUDACachingAllocator;

// Called by the allocator under its lock, on the thread that allocates or frees.
class CudaObserver {
 public:
  explicit CudaObserver(MemoryBook& book) : book_(book) {}

  void OnEvent(const caching::TraceEntry& entry) {
    if (entry.action_ == caching::TraceEntry::ALLOC) {
      if (IsUncounted()) return;
      const Block block{static_cast<int64_t>(entry.size_), CurrentMemoryCategory()};
      book_.Add(block.category, block.bytes);
      const std::lock_guard<std::mutex> lock(mutex_);
      blocks_[entry.addr_] = block;
    } else if (entry.action_ == caching::TraceEntry::FREE_COMPLETED) {
      const std::lock_guard<std::mutex> lock(mutex_);
      const auto found = blocks_.find(entry.addr_);
      if (found == blocks_.end()) return;  // before the observer was attached, or uncounted
      book_.Remove(found->second.category, found->second.bytes);
      blocks_.erase(found);
    }
  }

 private:
  struct Block {
    int64_t bytes;
    MemoryCategory category;
  };
  MemoryBook& book_;
  std::mutex mutex_;  // allocators of several devices share the observer
  std::unordered_map<size_t, Block> blocks_;
};

}  // namespace

void CountCudaMemory() {
  // Never destroyed, as the allocator may call until the process ends.
  static auto* const observer = [] {
    auto* made = new CudaObserver(UseDeviceBook());
    caching::attachAllocatorTraceTracker(
        [made](const caching::TraceEntry& entry) { made->OnEvent(entry); });
    return made;
  }();
  static_cast<void>(observer);
}

std::optional<int64_t> ReservedBytes(c10::Device device) {
  if (!device.is_cuda() || IsRehearsal()) return std::nullopt;
  const auto stats = caching::getDeviceStats(device.index());
  return stats.reserved_bytes[static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE)]
      .current;
}

}  // namespace fttrain
#else
namespace fttrain {
void CountCudaMemory() {}
std::optional<int64_t> ReservedBytes(c10::Device) { return std::nullopt; }
}  // namespace fttrain
#endif
