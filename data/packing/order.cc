#include "data/packing/order.h"

#include "runtime/math/philox.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {
constexpr int kRounds = 8;
constexpr uint64_t kOrderStream = 0x65706f63685f6f72ull;  // apart from every other use of the seed
}  // namespace

EpochOrder::EpochOrder(int64_t size, uint64_t seed, int64_t epoch, bool shuffle)
    : size_(size), shuffle_(shuffle), half_bits_(1) {
  FT_CHECK(size >= 0 && epoch >= 0, "size ", size, " epoch ", epoch);
  const PhiloxBlock block = Philox4x32(seed, static_cast<uint64_t>(epoch), kOrderStream);
  key_ = (static_cast<uint64_t>(block.x[1]) << 32) | block.x[0];
  while ((uint64_t{1} << (2 * half_bits_)) < static_cast<uint64_t>(size)) ++half_bits_;
}

uint64_t EpochOrder::Encipher(uint64_t x) const {
  const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
  uint64_t left = x >> half_bits_, right = x & mask;
  for (int round = 0; round < kRounds; ++round) {
    const PhiloxBlock block = Philox4x32(key_, right, static_cast<uint64_t>(round));
    const uint64_t mixed = (static_cast<uint64_t>(block.x[1]) << 32) | block.x[0];
    const uint64_t next = left ^ (mixed & mask);
    left = right;
    right = next;
  }
  return (left << half_bits_) | right;
}

int64_t EpochOrder::operator[](int64_t position) const {
  FT_CHECK(position >= 0 && position < size_, "position ", position, " of ", size_);
  if (!shuffle_) return position;
  // The network permutes a power of four below 4 * size, so a walk leaves the range at most a few
  // times.
  uint64_t x = static_cast<uint64_t>(position);
  do {
    x = Encipher(x);
  } while (x >= static_cast<uint64_t>(size_));
  return static_cast<int64_t>(x);
}

}  // namespace fttrain
