// The first rows of a run's files, looked at as `fttrain data` does, and judged.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "configs/load_config.h"

namespace fttrain {

// What would spoil a run though it would train. Each is an error unless it is accepted by its word.
inline constexpr const char* kAcceptable[] = {
    // Conversations are written otherwise than by the model's own template, but for an end of
    // answers that it lacks.
    "template",
    "ends",       // no answer ends with a token that ends a turn or a text
    "tokenizer",  // the folder's tokenizer cannot be its model's
};

struct RowsSeen {
  std::string text;                   // one line
  std::vector<std::string> warnings;  // what was accepted, too
  int64_t longest = 0;                // tokens of an example, before it is cut
  bool uses_template = false;
  // Of the whole run, about: examples of an epoch and their tokens, optimizer steps, tokens in all
  // of them.
  double examples = 0, epoch_tokens = 0;
  int64_t steps = 0;
  double tokens = 0;
};

// Reads `count` rows of each file of data.train with the model's tokenizer and template. Errors: as
// MakeTrainPlan's of data; InvalidArgument for a template, DataLoss for a tokenizer that cannot be
// meant. `accepted`: words of kAcceptable. Not collective.
absl::StatusOr<RowsSeen> LookAtRows(config::LoadedConfig loaded, int world_size, int64_t count,
                                    const std::vector<std::string>& accepted);

}  // namespace fttrain
