// Rotary position embedding as data, and the frequencies that follow.
#pragma once

#include <cstdint>
#include <vector>

namespace fttrain {

enum class RopeType { kDefault, kLinear, kLlama3, kYarn, kLongrope };

// The first `dim` elements of each head turn, in pairs.
struct RopeSpec {
  int64_t dim = 0;  // even
  bool interleaved =
      false;  // pairs are (0, 1), (2, 3), ...; else (0, dim / 2), (1, dim / 2 + 1), ...
  double theta = 10000.0;
  RopeType type = RopeType::kDefault;
  double factor = 1.0;                           // linear, llama3, yarn
  double low_freq_factor = 1.0;                  // llama3
  double high_freq_factor = 4.0;                 // llama3
  int64_t original_max_position_embeddings = 0;  // llama3, yarn, longrope
  double beta_fast = 32.0, beta_slow = 1.0;      // yarn: turns within the original context
  bool truncate = true;                          // yarn: its ramp begins and ends at whole pairs
  double attention_factor = 1.0;                 // cos and sin are multiplied by it
  double score_factor = 1.0;                     // scores are (DeepSeek), which its family does
  // longrope: each pair's frequency is divided by its factor; by the long one in a microbatch with
  // a document of more than original_max_position_embeddings tokens.
  std::vector<double> short_factors = {}, long_factors = {};

  bool has_long_form() const { return type == RopeType::kLongrope; }

  bool operator==(const RopeSpec&) const = default;
};

// Rotary inverse frequencies [dim / 2], scaled by the type (transformers' modeling_rope_utils;
// YaRN: arXiv:2309.00071, sec. 3.2; LongRoPE: arXiv:2402.13753). long_form: with long_factors.
std::vector<double> RopeInverseFrequencies(const RopeSpec& rope, bool long_form = false);

}  // namespace fttrain
