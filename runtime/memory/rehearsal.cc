#include "runtime/memory/rehearsal.h"

#include <c10/util/Exception.h>
#include <sys/mman.h>

#include <atomic>
#include <cstdlib>
#include <cstring>

#include "runtime/math/ceil_divide.h"
#include "runtime/memory/imagined.h"

namespace fttrain {
namespace {

std::atomic<bool> g_rehearses{false};

// Below it what is freed is soon asked for again: the heap.
constexpr int64_t kPagedBytes = 1 << 16;

}  // namespace

Rehearsal::Rehearsal(c10::Device device, int64_t largest_computed) : device_(device) {
  TORCH_CHECK(!g_rehearses.exchange(true), "a rehearsal within another");
  if (device.is_cuda()) BeginImaginedGpu();
  BeginImaginedOperations(largest_computed);
}

Rehearsal::~Rehearsal() {
  EndImaginedOperations();
  if (device_.is_cuda()) EndImaginedGpu();
  g_rehearses = false;
}

bool IsRehearsal() noexcept { return g_rehearses.load(std::memory_order_relaxed); }

void* ImaginedZeros(int64_t bytes) noexcept {
  const auto size = static_cast<size_t>(bytes);
  if (bytes >= kPagedBytes) {
    void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return data == MAP_FAILED ? nullptr : data;
  }
  void* data = nullptr;
  if (posix_memalign(&data, kAlignmentBytes, size) != 0) return nullptr;
  return std::memset(data, 0, size);
}

void FreeImagined(void* data, int64_t bytes) noexcept {
  if (bytes >= kPagedBytes) {
    munmap(data, static_cast<size_t>(bytes));
  } else {
    std::free(data);
  }
}

}  // namespace fttrain
