// Rotary position embedding as data, and the frequencies that follow.
#pragma once

#include <cstdint>
#include <vector>

namespace fttrain {

enum class RopeType { kDefault, kLinear, kLlama3, kYarn };

// Of heads of `dim`.
struct RopeSpec {
  int64_t dim = 0;  // even
  double theta = 10000.0;
  RopeType type = RopeType::kDefault;
  double factor = 1.0;                           // linear, llama3, yarn
  double low_freq_factor = 1.0;                  // llama3
  double high_freq_factor = 4.0;                 // llama3
  int64_t original_max_position_embeddings = 0;  // llama3, yarn
  double beta_fast = 32.0, beta_slow = 1.0;      // yarn: turns within the original context
  bool truncate = true;                          // yarn: its ramp begins and ends at whole pairs
  double attention_factor = 1.0;                 // cos and sin are multiplied by it

  bool operator==(const RopeSpec&) const = default;
};

// Rotary inverse frequencies [dim / 2], scaled by the type (transformers' modeling_rope_utils;
// YaRN: arXiv:2309.00071, sec. 3.2).
std::vector<double> RopeInverseFrequencies(const RopeSpec& rope);

}  // namespace fttrain
