// Which token comes next: what transformers' generate does with the logits of a prompt's last
// token. Pure.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

#include "absl/types/span.h"

namespace fttrain {

struct Sampling {
  double temperature = 0;         // 0: the likeliest token, of equal ones the first
  int64_t top_k = 0;              // draw among so many of the likeliest; 0: among all
  double top_p = 1;               // among the likeliest that have this probability together
  double repetition_penalty = 1;  // for tokens that are there already, the prompt's too
  uint64_t seed = 0;
};

// logits [V], float32 (float64), on the CPU, of what follows `before`. First the penalty, which is
// of every choice; where one is drawn, then the temperature, top_k and top_p: transformers' order
// and, in its arithmetic, its values. What is not to be drawn is -inf.
at::Tensor ProcessedScores(const at::Tensor& logits, absl::Span<const int32_t> before,
                           const Sampling& sampling);

// The token that follows `before` in the prompt with this number. A draw depends on the seed, that
// number and how many tokens there are before, alone.
int32_t ChooseToken(const at::Tensor& logits, absl::Span<const int32_t> before,
                    const Sampling& sampling, uint64_t prompt);

}  // namespace fttrain
