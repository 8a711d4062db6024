// What a dataset becomes: token ids with one label per token.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace fttrain {

inline constexpr int32_t kNoTarget = -100;

// One document. `labels` has the length of `input_ids` and is aligned with it: labels[i] is
// input_ids[i] where the token is to be learnt and kNoTarget elsewhere. The causal shift comes
// later (packer.h): token i predicts labels[i + 1], so labels[0] never counts.
struct Example {
  std::vector<int32_t> input_ids;
  std::vector<int32_t> labels;
  std::string source;  // "train.jsonl:1841" or "train.json[17]", for messages
};

// An example's place among those of a dataset: 4 bytes, for there are lists of all of them.
using ExampleIndex = uint32_t;
inline constexpr int64_t kMostExamples = int64_t{1} << 31;

// Number of targets after the shift in the first `length` tokens.
int64_t CountTargets(const Example& example, int64_t length);

}  // namespace fttrain
