// A vocabulary of which ranks hold slices: its tables, and cross entropy over what all of them
// have.
#pragma once

#include <string>

#include "model/blocks/decoder_layer.h"

namespace fttrain {

// A [V, H] table of which this rank holds rows `rows`.
Parameter VocabularyTable(const std::string& name, const ModelConfig& config, const Range& rows,
                          const ModelOptions& options);

// CrossEntropyStats of logits [C, rows.extent], also where the slice is empty: then they add
// nothing to any sum.
at::Tensor VocabularyStats(const at::Tensor& logits, const at::Tensor& targets, const Range& rows);

// Log-sum-exp and target logit [C] over the whole vocabulary, from the statistics [K, C, 3] of the
// K slices that each tp rank has. Collective over tp.
struct LogSumExp {
  at::Tensor lse, target;
};
LogSumExp CombineStats(const at::Tensor& stats, Communicator& tp);

}  // namespace fttrain
