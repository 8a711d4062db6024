#include <algorithm>
#include <array>

#include "parallel/optimizer/int8_moments.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

int32_t CodeOf(const std::array<float, 256>& map, float x) {
  const int32_t code = NearestDynamicCode(map.data(), x);
  return x < 0.0f && map[static_cast<size_t>(code)] == 0.0f ? code - 1 : code;
}

// The entry of the bucket of `size` magnitudes that begin at `begin`; sign: 1 or -1.
int32_t Entry(const std::array<float, 256>& map, float sign, int32_t begin, int32_t size) {
  const auto code_at = [&](int32_t offset) {
    return CodeOf(map, sign * std::min(FloatFromBits(begin + offset), 1.0f));
  };
  const int32_t code = code_at(0), last = code_at(size - 1);
  FT_CHECK(last == code || last == code + static_cast<int32_t>(sign), "two codes begin in [",
           FloatFromBits(begin), ", ", FloatFromBits(begin + size), ")");
  int32_t low = 0, high = size;  // code_at(low) == code; from high on it is the next
  if (last != code) {
    while (high - low > 1) {
      const int32_t middle = (low + high) / 2;
      (code_at(middle) == code ? low : high) = middle;
    }
  }
  return high << 8 | code;
}

template <bool kSigned>
void FillCodes(const std::array<float, 256>& map, float sign, int32_t* codes) {
  FT_CHECK(CodeOf(map, sign * FloatFromBits(kLowestBits)) == CodeOf(map, sign * 1e-30f),
           "the lowest bucket begins above the smallest code");
  constexpr int32_t kSize = 1 << kBucketShift<kSigned>;
  for (int32_t bucket = 0; bucket < kBuckets<kSigned>; ++bucket) {
    codes[bucket] = Entry(map, sign, kLowestBits + bucket * kSize, kSize);
  }
}

Int8Tables MakeTables() {
  Int8Tables tables{};
  std::copy_n(SignedDynamicMap().begin(), 256, tables.exp_avg_map);
  std::copy_n(UnsignedDynamicMap().begin(), 256, tables.exp_avg_sq_map);
  FillCodes<true>(SignedDynamicMap(), 1.0f, tables.exp_avg_codes);
  FillCodes<true>(SignedDynamicMap(), -1.0f, tables.exp_avg_codes + kBuckets<true>);
  FillCodes<false>(UnsignedDynamicMap(), 1.0f, tables.exp_avg_sq_codes);
  return tables;
}

}  // namespace

const Int8Tables& HostInt8Tables() {
  static const Int8Tables tables = MakeTables();
  return tables;
}

}  // namespace fttrain
