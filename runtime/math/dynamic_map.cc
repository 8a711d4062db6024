#include "runtime/math/dynamic_map.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace fttrain {
namespace {

// torch.linspace(0.1, 1, count) in float32: from both ends, with fused multiply-adds.
std::vector<float> Boundaries(int count) {
  constexpr float kBegin = 0.1F, kEnd = 1.0F;
  const float step = (kEnd - kBegin) / static_cast<float>(count - 1);
  std::vector<float> points;
  for (int i = 0; i < count; ++i) {
    points.push_back(i < count / 2 ? std::fma(step, static_cast<float>(i), kBegin)
                                   : std::fma(-step, static_cast<float>(count - 1 - i), kEnd));
  }
  return points;
}

// Exponents 10^-6 ... 10^0, the fraction of each in twice as many parts as that of the one below;
// an entry is the middle of a part. The product is rounded to float32, as torch rounds it.
std::array<float, 256> MakeDynamicMap(bool with_negative) {
  constexpr int kExponents = 7;
  std::vector<float> values = {0.0F, 1.0F};
  for (int i = 0; i < kExponents; ++i) {
    const int parts = 1 << (with_negative ? i : i + 1);
    const std::vector<float> points = Boundaries(parts + 1);
    const auto scale = static_cast<float>(std::pow(10.0, i - (kExponents - 1)));
    for (size_t part = 0; part + 1 < points.size(); ++part) {
      const float mean = (points[part] + points[part + 1]) / 2.0F;
      values.push_back(scale * mean);
      if (with_negative) values.push_back(-(scale * mean));
    }
  }
  std::sort(values.begin(), values.end());
  std::array<float, 256> map{};
  std::copy_n(values.begin(), map.size(), map.begin());
  return map;
}

}  // namespace

const std::array<float, 256>& SignedDynamicMap() {
  static const std::array<float, 256> map = MakeDynamicMap(/*with_negative=*/true);
  return map;
}

const std::array<float, 256>& UnsignedDynamicMap() {
  static const std::array<float, 256> map = MakeDynamicMap(/*with_negative=*/false);
  return map;
}

std::array<float, 256> DynamicThresholds(const std::array<float, 256>& map) {
  std::array<float, 256> thresholds;
  thresholds.fill(std::numeric_limits<float>::infinity());
  for (size_t i = 0; i + 1 < map.size(); ++i) {
    const float middle = (map[i] + map[i + 1]) * 0.5F;
    // A tie goes to the even one of i and i + 1.
    thresholds[i] = i % 2 == 0 ? middle : std::nextafter(middle, -2.0F);
  }
  return thresholds;
}

}  // namespace fttrain
