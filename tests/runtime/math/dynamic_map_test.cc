#include "runtime/math/dynamic_map.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

namespace fttrain {
namespace {

using Map = std::array<float, 256>;

uint32_t Bits(float x) {
  uint32_t bits = 0;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
}

// FNV-1a, 64 bits, over the little-endian bytes.
uint64_t Hash(const Map& map) {
  uint64_t hash = 0xcbf29ce484222325U;
  for (const float value : map) {
    for (int byte = 0; byte < 4; ++byte) {
      hash = (hash ^ (Bits(value) >> (8 * byte) & 0xffU)) * 0x100000001b3U;
    }
  }
  return hash;
}

// The hashes are of bitsandbytes 0.50.2's create_dynamic_map(True) and (False), torch 2.11.
TEST(DynamicMap, SignedEqualsBitsandbytesBitForBit) {
  const Map& map = SignedDynamicMap();
  EXPECT_EQ(Bits(map[0]), 3212718899U);
  EXPECT_EQ(map[127], 0.0F);
  EXPECT_EQ(Bits(map[200]), 1047474995U);
  EXPECT_EQ(map[255], 1.0F);
  EXPECT_EQ(Hash(map), 0xd677f22a96665bc4U);
}

TEST(DynamicMap, UnsignedEqualsBitsandbytesBitForBit) {
  const Map& map = UnsignedDynamicMap();
  EXPECT_EQ(map[0], 0.0F);
  EXPECT_EQ(map[255], 1.0F);
  EXPECT_EQ(Hash(map), 0x43811b16730a873eU);
}

TEST(NearestDynamicCode, EveryEntryIsNearestToItself) {
  for (const Map* map : {&SignedDynamicMap(), &UnsignedDynamicMap()}) {
    for (int i = 0; i < 256; ++i) EXPECT_EQ(NearestDynamicCode(map->data(), (*map)[i]), i);
  }
}

TEST(NearestDynamicCode, ATieGoesToTheEvenIndexAndItsNeighboursToTheNearerEntry) {
  for (const Map* map : {&SignedDynamicMap(), &UnsignedDynamicMap()}) {
    for (int i = 0; i < 255; ++i) {
      const float middle = ((*map)[i] + (*map)[i + 1]) * 0.5F;
      EXPECT_EQ(NearestDynamicCode(map->data(), middle), i % 2 == 0 ? i : i + 1) << i;
      EXPECT_EQ(NearestDynamicCode(map->data(), std::nextafter(middle, -2.0F)), i) << i;
      EXPECT_EQ(NearestDynamicCode(map->data(), std::nextafter(middle, 2.0F)), i + 1) << i;
    }
  }
}

TEST(DynamicThresholds, FindTheNearestCode) {
  for (const Map* map : {&SignedDynamicMap(), &UnsignedDynamicMap()}) {
    const Map thresholds = DynamicThresholds(*map);
    const auto code = [&](float x) {
      uint32_t found = 0;
      for (uint32_t step = 128; step > 0; step /= 2) {
        found = CodeAbove(thresholds.data(), found, x, step);
      }
      return found;
    };
    for (int i = 0; i < 255; ++i) {
      const float middle = ((*map)[i] + (*map)[i + 1]) * 0.5F;
      for (const float x : {(*map)[i], middle, std::nextafter(middle, -2.0F),
                            std::nextafter(middle, 2.0F), 0.3F * middle}) {
        EXPECT_EQ(code(x), NearestDynamicCode(map->data(), x)) << i << ": " << x;
      }
    }
    EXPECT_EQ(code(std::numeric_limits<float>::infinity()), 255U);
    EXPECT_EQ(code(-2.0F), 0U);
    EXPECT_EQ(code(std::nanf("")), 0U);
  }
}

TEST(NearestDynamicCode, BeyondAnEndItIsTheEnd) {
  const float* map = SignedDynamicMap().data();
  EXPECT_EQ(NearestDynamicCode(map, -1.0F), 0);
  EXPECT_EQ(NearestDynamicCode(map, -std::numeric_limits<float>::infinity()), 0);
  EXPECT_EQ(NearestDynamicCode(map, 1.5F), 255);
  EXPECT_EQ(NearestDynamicCode(map, std::numeric_limits<float>::infinity()), 255);
}

}  // namespace
}  // namespace fttrain
