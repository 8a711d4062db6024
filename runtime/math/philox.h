// Stateless random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1,
// 2, 3", SC 2011). A number depends on its key and index alone, never on call order or rank, so
// every layout draws the same ones. Plain C++17, usable on host and device.
#pragma once

#include <cstdint>
#include <string_view>

#include "runtime/math/host_device.h"

namespace fttrain {

struct PhiloxBlock {
  uint32_t x[4];
};

// Ten rounds of Philox4x32 on counter (index, stream) under key.
FT_HOST_DEVICE PhiloxBlock Philox4x32(uint64_t key, uint64_t index, uint64_t stream) {
  uint32_t c0 = static_cast<uint32_t>(index), c1 = static_cast<uint32_t>(index >> 32);
  uint32_t c2 = static_cast<uint32_t>(stream), c3 = static_cast<uint32_t>(stream >> 32);
  uint32_t k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = static_cast<uint64_t>(0xD2511F53u) * c0;
    const uint64_t p1 = static_cast<uint64_t>(0xCD9E8D57u) * c2;
    const uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    const uint32_t n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// Uniform in [0, 1) with 24 bits.
FT_HOST_DEVICE float UniformFromBits(uint32_t bits) {
  return static_cast<float>(bits >> 8) * (1.0f / 16777216.0f);
}

// FNV-1a of a tensor or module name: the `stream` of draws that belong to it.
inline uint64_t StreamOfName(std::string_view name) {
  uint64_t h = 0xcbf29ce484222325ull;
  for (const char c : name) h = (h ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  return h;
}

// Key of everything drawn in one optimizer step of a run.
inline uint64_t StepKey(uint64_t seed, uint64_t step) {
  const PhiloxBlock b = Philox4x32(seed, step, 0x737465705f6b6579ull);
  return (static_cast<uint64_t>(b.x[1]) << 32) | b.x[0];
}

}  // namespace fttrain
