#include "runtime/memory/ledger.h"

#include <c10/core/Allocator.h>
#include <malloc.h>

#include <cstdlib>
#include <cstring>
#include <limits>

#include "runtime/math/ceil_divide.h"
#include "runtime/memory/book.h"
#include "runtime/memory/kept_blocks.h"
#include "runtime/memory/rehearsal.h"
#include "runtime/memory/uncounted.h"

namespace fttrain {
namespace {

// Written in the 64 bytes before a tensor's data, so that freeing needs neither a lock nor a table.
struct alignas(kAlignmentBytes) Header {
  int64_t bytes;
  MemoryCategory category;  // kCount: in no book
  enum class From : uint8_t { kHeap, kKeptBlocks, kImagined } from;
};
static_assert(sizeof(Header) == kAlignmentBytes);

// Constant-initialised and never destroyed: static tensors are freed after main.
constinit MemoryBook g_host_book;    // of the CPU allocator
constinit MemoryBook g_beside_book;  // of EmptyOnHost on a CPU run
constinit MemoryBook g_device_book;
constinit std::atomic<bool> g_has_device{false};
constinit std::atomic<int64_t> g_host_limit{std::numeric_limits<int64_t>::max()};
thread_local MemoryCategory t_category = MemoryCategory::kOther;
thread_local bool t_uncounted = false;

#if defined(__SANITIZE_ADDRESS__)
constexpr bool kKeepsBlocks = false;  // the heap's have guards at both ends
#else
constexpr bool kKeepsBlocks = true;
#endif

// Never destroyed, as the books.
KeptBlocks& LargeBlocks() {
  static auto* const blocks = new KeptBlocks();
  return *blocks;
}

using From = Header::From;

// Aligned to kAlignmentBytes; null where there is none. Says where it is from.
void* AllocateBlock(int64_t bytes, From* from) {
  if (*from == From::kImagined) return ImaginedZeros(bytes);
  if (kKeepsBlocks && bytes >= kLargeBlockBytes) {
    *from = From::kKeptBlocks;
    // A process has so many maps of memory (vm.max_map_count); the heap has others.
    if (void* block = LargeBlocks().Take(bytes)) return block;
  }
  *from = From::kHeap;
  void* data = nullptr;
  return posix_memalign(&data, kAlignmentBytes, static_cast<size_t>(bytes)) == 0 ? data : nullptr;
}

void FreeBlock(void* data, int64_t bytes, From from) {
  switch (from) {
    case From::kHeap:
      std::free(data);
      break;
    case From::kKeptBlocks:
      LargeBlocks().Give(data, bytes);
      break;
    case From::kImagined:
      FreeImagined(data, bytes);
      break;
  }
}

class CountingAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    const c10::Device cpu(c10::DeviceType::CPU);
    if (bytes == 0) return {nullptr, nullptr, &Free, cpu};
    void* base = nullptr;
    const bool fits =
        bytes <= static_cast<size_t>(std::numeric_limits<int64_t>::max()) - kAlignmentBytes;
    const bool imagined = IsRehearsal();
    const int64_t live = g_host_book.Total().current_bytes, limit = g_host_limit;
    TORCH_CHECK(imagined || !fits || static_cast<int64_t>(bytes) <= limit - live,
                "out of memory: ", bytes, " bytes beside ", live,
                " of live tensors are more than the ", limit, " of memory.limit");
    From from = imagined ? From::kImagined : From::kHeap;
    if (fits) base = AllocateBlock(static_cast<int64_t>(bytes + kAlignmentBytes), &from);
    if (base == nullptr) {
      TORCH_CHECK(false, "out of host memory: cannot allocate ", bytes, " bytes beside ",
                  g_host_book.Total().current_bytes, " bytes of live tensors");
    }
    const MemoryCategory category = t_uncounted ? MemoryCategory::kCount : t_category;
    auto* header = new (base) Header{static_cast<int64_t>(bytes), category, from};
    if (!t_uncounted) g_host_book.Add(category, header->bytes);
    void* data = header + 1;
    return {data, data, &Free, cpu};
  }

  c10::DeleterFnPtr raw_deleter() const override { return &Free; }

  void copy_data(void* to, const void* from, std::size_t count) const override {
    std::memcpy(to, from, count);
  }

 private:
  static void Free(void* data) {
    if (data == nullptr) return;
    auto* header = static_cast<Header*>(data) - 1;
    if (header->category != MemoryCategory::kCount) {
      g_host_book.Remove(header->category, header->bytes);
    }
    FreeBlock(header, header->bytes + kAlignmentBytes, header->from);
  }
};

// What libraries take inside a product and give back is large, too, and asked for again by the
// next. glibc would return each block to the system and have every page of the next zeroed and
// mapped anew; from the heap they are reused as they are.
void KeepFreedMemory() {
#if defined(__GLIBC__)
  mallopt(M_MMAP_MAX, 0);
  mallopt(M_TRIM_THRESHOLD, std::numeric_limits<int>::max());
#endif
}

// oneDNN, which multiplies bfloat16 on a CPU, makes code for every shape, about half a megabyte
// each, and keeps that of 1024 of them, and ATen's layer over it of 1024 more: with rows of
// different lengths a gigabyte. As many as the products of one microbatch are needed again, by the
// next layer. Before the first product; the user's own environment wins.
void BoundShapeCaches() {
  for (const char* name : {"ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY"}) {
    setenv(name, "64", /*overwrite=*/0);
  }
}

const MemoryBook& BookOf(MemoryPlace place) {
  if (place == MemoryPlace::kHost) return HostBook();
  return g_has_device.load(std::memory_order_relaxed) ? g_device_book : g_host_book;
}

void RaisePeak(std::atomic<int64_t>& peak, int64_t value) noexcept {
  int64_t seen = peak.load(std::memory_order_relaxed);
  while (seen < value && !peak.compare_exchange_weak(seen, value, std::memory_order_relaxed)) {
  }
}

}  // namespace

void MemoryBook::Add(MemoryCategory category, int64_t bytes) noexcept {
  for (Counter* counter : {&counters_[static_cast<size_t>(category)], &total_}) {
    RaisePeak(counter->peak, counter->current.fetch_add(bytes, std::memory_order_relaxed) + bytes);
  }
}

void MemoryBook::Remove(MemoryCategory category, int64_t bytes) noexcept {
  counters_[static_cast<size_t>(category)].current.fetch_sub(bytes, std::memory_order_relaxed);
  total_.current.fetch_sub(bytes, std::memory_order_relaxed);
}

MemoryUse MemoryBook::Of(MemoryCategory category) const noexcept {
  const Counter& counter = counters_[static_cast<size_t>(category)];
  return {counter.current.load(std::memory_order_relaxed),
          counter.peak.load(std::memory_order_relaxed)};
}

MemoryUse MemoryBook::Total() const noexcept {
  return {total_.current.load(std::memory_order_relaxed),
          total_.peak.load(std::memory_order_relaxed)};
}

void MemoryBook::ResetPeaks() noexcept {
  for (Counter& counter : counters_) counter.peak = counter.current.load();
  total_.peak = total_.current.load();
}

MemoryCategory CurrentMemoryCategory() noexcept { return t_category; }

MemoryBook& UseDeviceBook() {
  g_has_device.store(true, std::memory_order_relaxed);
  return g_device_book;
}

void LimitHostBook(int64_t bytes) noexcept { g_host_limit = bytes; }

bool CountsDevice() noexcept { return g_has_device.load(std::memory_order_relaxed); }

void LeaveDeviceBook() noexcept { g_has_device.store(false, std::memory_order_relaxed); }

MemoryBook& HostBook() {
  return g_has_device.load(std::memory_order_relaxed) ? g_host_book : g_beside_book;
}

std::string_view MemoryCategoryName(MemoryCategory category) {
  switch (category) {
    case MemoryCategory::kOther:
      return "other";
    case MemoryCategory::kWeights:
      return "weights";
    case MemoryCategory::kAdapters:
      return "adapters";
    case MemoryCategory::kGradients:
      return "gradients";
    case MemoryCategory::kOptimizer:
      return "optimizer";
    case MemoryCategory::kSaved:
      return "saved";
    case MemoryCategory::kWorkspace:
      return "workspace";
    case MemoryCategory::kCommunication:
      return "communication";
    case MemoryCategory::kCount:
      break;
  }
  return "invalid";
}

void InstallMemoryLedger() {
  KeepFreedMemory();
  BoundShapeCaches();
  // Never destroyed: tensors may outlive every static.
  static auto* const allocator = new CountingAllocator();
  c10::SetAllocator(c10::DeviceType::CPU, allocator, /*priority=*/255);
}

MemoryUse MemoryOf(MemoryCategory category, MemoryPlace place) {
  return BookOf(place).Of(category);
}

MemoryUse TotalMemory(MemoryPlace place) { return BookOf(place).Total(); }

void ReleaseFreedMemory() {
  LargeBlocks().Release();
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
}

void ResetMemoryPeaks() {
  g_host_book.ResetPeaks();
  g_beside_book.ResetPeaks();
  g_device_book.ResetPeaks();
}

UncountedScope::UncountedScope() noexcept : previous_(t_uncounted) { t_uncounted = true; }

UncountedScope::~UncountedScope() { t_uncounted = previous_; }

bool IsUncounted() noexcept { return t_uncounted; }

MemoryScope::MemoryScope(MemoryCategory category) noexcept : previous_(t_category) {
  t_category = category;
}

MemoryScope::~MemoryScope() { t_category = previous_; }

}  // namespace fttrain
