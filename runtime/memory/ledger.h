// Counts tensor bytes by category, current and peak: the bytes asked for, without the allocators'
// own rounding. On CPU a counting c10::Allocator sees every tensor (its DataPtr has data ==
// context, 64-byte aligned), on CUDA an observer of the caching allocator does, from SelectDevice
// on. Everything here may be called from any thread.
#pragma once

#include <cstdint>
#include <string_view>

namespace fttrain {

enum class MemoryCategory : uint8_t {
  kOther,
  kWeights,
  kAdapters,
  kGradients,
  kOptimizer,
  kSaved,
  kWorkspace,
  kCommunication,
  kCount
};
// "weights", "adapters", ...
std::string_view MemoryCategoryName(MemoryCategory category);

struct MemoryUse {
  int64_t current_bytes = 0;
  int64_t peak_bytes = 0;
};

// kDevice: the memory of the process's one device, so on a CPU run that of all ordinary tensors.
// kHost: host memory beside it: on a CPU run what EmptyOnHost gives alone (memory/host.h), which
// stands for what a GPU run would hold in host memory; on a GPU run every tensor on the host.
// What the caching allocator pins for a moment (staging of collectives, uploads, looked-up rows; it
// rounds to powers of two and keeps them) is not counted; EmptyOnHost pins what is asked for alone.
enum class MemoryPlace : uint8_t { kDevice, kHost };

// Installs the counting allocator as the CPU allocator, and makes the process keep freed host
// memory for its next allocations. Call once, first thing in main, before any tensor exists.
// Tensors may outlive everything else.
void InstallMemoryLedger();

// The bytes live now, and the peak since start or the last ResetMemoryPeaks(). The total's current
// is the sum of the categories'; its peak is the peak of the sum.
MemoryUse MemoryOf(MemoryCategory category, MemoryPlace place = MemoryPlace::kDevice);
MemoryUse TotalMemory(MemoryPlace place = MemoryPlace::kDevice);
// Sets every peak to what is live now.
void ResetMemoryPeaks();
// Gives host memory that is freed but kept for reuse back to the system. After loading, whose large
// temporaries no step needs again.
void ReleaseFreedMemory();

// Bytes a tensor allocated on this thread while the scope lives are booked under its category.
// Scopes nest; the innermost counts. A tensor keeps its category until it is freed, whoever frees
// it.
class MemoryScope {
 public:
  explicit MemoryScope(MemoryCategory category) noexcept;
  ~MemoryScope();
  MemoryScope(const MemoryScope&) = delete;
  MemoryScope& operator=(const MemoryScope&) = delete;

 private:
  MemoryCategory previous_;
};

}  // namespace fttrain
