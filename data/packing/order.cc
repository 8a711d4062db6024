#include "data/packing/order.h"

#include <numeric>

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

// Several at once: each alone waits for its own multiplications.
template <int kLanes>
void EpochOrder::Encipher(uint64_t* x) const {
  const uint64_t mask = (uint64_t{1} << half_bits_) - 1;
  uint64_t left[kLanes], right[kLanes];
  for (int l = 0; l < kLanes; ++l) {
    left[l] = x[l] >> half_bits_;
    right[l] = x[l] & mask;
  }
  for (int round = 0; round < kRounds; ++round) {
    for (int l = 0; l < kLanes; ++l) {
      const PhiloxBlock block = Philox4x32(key_, right[l], static_cast<uint64_t>(round));
      const uint64_t mixed = (static_cast<uint64_t>(block.x[1]) << 32) | block.x[0];
      const uint64_t next = left[l] ^ (mixed & mask);
      left[l] = right[l];
      right[l] = next;
    }
  }
  for (int l = 0; l < kLanes; ++l) x[l] = (left[l] << half_bits_) | right[l];
}

int64_t EpochOrder::operator[](int64_t position) const {
  FT_CHECK(position >= 0 && position < size_, "position ", position, " of ", size_);
  if (!shuffle_) return position;
  // The network permutes a power of four below 4 * size, so a walk leaves the range at most a few
  // times.
  uint64_t x = static_cast<uint64_t>(position);
  do {
    Encipher<1>(&x);
  } while (x >= static_cast<uint64_t>(size_));
  return static_cast<int64_t>(x);
}

std::vector<ExampleIndex> EpochOrder::All() const {
  constexpr int kLanes = 8;
  FT_CHECK(size_ <= int64_t{1} << 32, "size ", size_);
  std::vector<ExampleIndex> all(static_cast<size_t>(size_));
  if (!shuffle_) {
    std::iota(all.begin(), all.end(), ExampleIndex{0});
    return all;
  }
  // A lane whose walk has ended begins with the next position.
  uint64_t x[kLanes];
  size_t place[kLanes], next = 0;
  for (int l = 0; l < kLanes; ++l) x[l] = place[l] = next++;
  for (size_t left = all.size(); left > 0;) {
    Encipher<kLanes>(x);
    for (int l = 0; l < kLanes; ++l) {
      if (place[l] >= all.size() || x[l] >= all.size()) continue;
      all[place[l]] = static_cast<ExampleIndex>(x[l]);
      x[l] = place[l] = next++;
      --left;
    }
  }
  return all;
}

}  // namespace fttrain
