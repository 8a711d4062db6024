// Two ids as one key of a table.
#pragma once

#include <cstdint>

namespace fttrain {

inline uint64_t PairKey(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

}  // namespace fttrain
