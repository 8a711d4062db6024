#include "model/config/rope.h"

#include <algorithm>
#include <cmath>

namespace fttrain {
namespace {

constexpr double kTwoPi = 2 * 3.14159265358979323846;

// The share of each pair's frequency that llama3 keeps; the rest is slowed by `factor`.
double Llama3Keeps(const RopeSpec& rope, double plain) {
  // Full turns within the original context: few are slowed, many kept, between interpolated.
  const double turns = static_cast<double>(rope.original_max_position_embeddings) * plain / kTwoPi;
  return std::clamp((turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor),
                    0.0, 1.0);
}

// YaRN's ramp over pairs: kept up to the pair that makes beta_fast turns within the original
// context, slowed from the one that makes beta_slow.
struct YarnRamp {
  double begin, end;

  explicit YarnRamp(const RopeSpec& rope) {
    const double dim = static_cast<double>(rope.dim);
    const auto pair_of = [&](double turns) {
      const double context = static_cast<double>(rope.original_max_position_embeddings);
      return dim * std::log(context / (turns * kTwoPi)) / (2 * std::log(rope.theta));
    };
    begin = pair_of(rope.beta_fast);
    end = pair_of(rope.beta_slow);
    if (rope.truncate) {
      begin = std::floor(begin);
      end = std::ceil(end);
    }
    begin = std::max(begin, 0.0);
    end = std::min(end, dim - 1);  // of dim, not of its dim / 2 pairs: so the models were trained
    if (begin == end) end += 0.001;
  }

  double Keeps(size_t pair) const {
    return 1 - std::clamp((static_cast<double>(pair) - begin) / (end - begin), 0.0, 1.0);
  }
};

}  // namespace

std::vector<double> RopeInverseFrequencies(const RopeSpec& rope, bool long_form) {
  const std::vector<double>& factors = long_form ? rope.long_factors : rope.short_factors;
  std::vector<double> frequencies(static_cast<size_t>(rope.dim / 2));
  for (size_t i = 0; i < frequencies.size(); ++i) {
    const double plain =
        std::pow(rope.theta, -2.0 * static_cast<double>(i) / static_cast<double>(rope.dim));
    if (rope.type == RopeType::kLongrope) {
      frequencies[i] = plain / factors.at(i);
      continue;
    }
    double keep = 1.0;
    if (rope.type == RopeType::kLinear) keep = 0.0;
    if (rope.type == RopeType::kLlama3) keep = Llama3Keeps(rope, plain);
    if (rope.type == RopeType::kYarn) keep = YarnRamp(rope).Keeps(i);
    frequencies[i] = (1 - keep) * plain / rope.factor + keep * plain;
  }
  return frequencies;
}

}  // namespace fttrain
