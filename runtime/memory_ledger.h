// Counts tensor bytes by category, current and peak. On CPU a counting c10::Allocator sees every tensor
// byte (its DataPtr has data == context); on CUDA the caching allocator's statistics are read at the scope's
// ends, so a scope must not be left while another thread allocates on the device.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace fttrain {

enum class MemoryCategory : uint8_t {
  kOther, kWeights, kAdapters, kGradients, kOptimizer, kSaved, kWorkspace, kCommunication, kCount
};
std::string_view MemoryCategoryName(MemoryCategory category);

struct MemoryUse {
  int64_t current_bytes = 0;
  int64_t peak_bytes = 0;
};

// Installs the counting allocator as the CPU allocator. Call once, first thing in main, before any tensor
// exists. Tensors may outlive everything else.
void InstallMemoryLedger();

// The bytes live now, and the peak since start or the last ResetPeaks().
MemoryUse MemoryOf(MemoryCategory category);
MemoryUse TotalMemory();
void ResetMemoryPeaks();

// Bytes a tensor allocated on this thread while the scope lives are booked under its category. Scopes nest;
// the innermost counts. A tensor keeps its category until it is freed, whoever frees it.
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
