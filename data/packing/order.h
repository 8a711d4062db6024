// The order of examples in an epoch: a keyed permutation that every rank can evaluate at any
// position, so that nothing is stored and no layout changes it.
#pragma once

#include <cstdint>
#include <vector>

#include "data/text/example.h"

namespace fttrain {

// A bijection of [0, size) that depends on (seed, epoch, size) alone: a Feistel network over the
// next even number of bits, keyed by Philox, with cycle walking (Black and Rogaway, "Ciphers with
// arbitrary finite domains", CT-RSA 2002). `shuffle` = false is the identity. O(1) memory, expected
// O(1) time per position.
class EpochOrder {
 public:
  EpochOrder(int64_t size, uint64_t seed, int64_t epoch, bool shuffle);

  int64_t size() const { return size_; }
  // The example at `position`; position in [0, size).
  int64_t operator[](int64_t position) const;
  // Those of all positions, three times as fast.
  std::vector<ExampleIndex> All() const;  // size() is at most 2^32

 private:
  template <int kLanes>
  void Encipher(uint64_t* x) const;

  int64_t size_;
  uint64_t key_;
  bool shuffle_;
  int half_bits_;
};

}  // namespace fttrain
