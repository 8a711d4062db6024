#include "runtime/memory/kept_blocks.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "runtime/math/ceil_divide.h"

namespace fttrain {
namespace {

int64_t WholePages(int64_t bytes) {
  static const int64_t page = sysconf(_SC_PAGESIZE);
  return RoundUp(bytes, page);
}

void* Map(int64_t bytes) {
  void* data = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE,
                    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return data == MAP_FAILED ? nullptr : data;
}

// The pages of `data`, as many as both have, at the start of `bytes`.
void* Resize(void* data, int64_t had, int64_t bytes) {
  void* moved = mremap(data, static_cast<size_t>(had), static_cast<size_t>(bytes), MREMAP_MAYMOVE);
  return moved == MAP_FAILED ? nullptr : moved;
}

}  // namespace

void* KeptBlocks::Take(int64_t bytes) noexcept {
  bytes = WholePages(bytes);
  const std::lock_guard lock(mutex_);
  const auto distance = [&](const Block& block) { return std::abs(block.bytes - bytes); };
  // Of those of one size the last given back, which a core may still have in its cache.
  const auto nearest =
      std::min_element(kept_.rbegin(), kept_.rend(),
                       [&](const Block& a, const Block& b) { return distance(a) < distance(b); });
  void* data = nullptr;
  if (nearest != kept_.rend() && distance(*nearest) <= bytes / 2) {
    const Block block = *nearest;
    kept_.erase(std::next(nearest).base());
    kept_bytes_ -= block.bytes;
    // Before it grows: at no time is there more than was taken at most.
    Drop(std::max(most_taken_bytes_, taken_bytes_ + bytes) - taken_bytes_ -
         std::max(bytes, block.bytes));
    data = block.bytes == bytes ? block.data : Resize(block.data, block.bytes, bytes);
    if (data == nullptr) munmap(block.data, static_cast<size_t>(block.bytes));
  }
  if (data == nullptr) {
    Drop(most_taken_bytes_ - taken_bytes_ - bytes);
    data = Map(bytes);
  }
  if (data == nullptr) return nullptr;
  taken_bytes_ += bytes;
  most_taken_bytes_ = std::max(most_taken_bytes_, taken_bytes_);
  return data;
}

void KeptBlocks::Give(void* block, int64_t bytes) noexcept {
  bytes = WholePages(bytes);
  const std::lock_guard lock(mutex_);
  taken_bytes_ -= bytes;
  kept_.push_back({block, bytes});
  kept_bytes_ += bytes;
}

void KeptBlocks::Release() noexcept {
  const std::lock_guard lock(mutex_);
  Drop(0);
  most_taken_bytes_ = taken_bytes_;
}

int64_t KeptBlocks::taken_bytes() const noexcept {
  const std::lock_guard lock(mutex_);
  return taken_bytes_;
}

int64_t KeptBlocks::kept_bytes() const noexcept {
  const std::lock_guard lock(mutex_);
  return kept_bytes_;
}

void KeptBlocks::Drop(int64_t most_kept) noexcept {
  auto first = kept_.begin();
  for (; first != kept_.end() && kept_bytes_ > most_kept; ++first) {
    const int64_t cut = std::min(first->bytes, kept_bytes_ - std::max(most_kept, int64_t{0}));
    first->bytes -= cut;
    kept_bytes_ -= cut;
    munmap(static_cast<char*>(first->data) + first->bytes, static_cast<size_t>(cut));
    if (first->bytes > 0) break;
  }
  kept_.erase(kept_.begin(), first);
}

}  // namespace fttrain
