// What a model is asked: rows of prompts as people write them, and their tokens.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/formats/prompts.h"
#include "launch/run/speech.h"

namespace fttrain {

struct Questions {
  Speech speech;
  std::vector<PromptRow> rows;
  std::vector<std::vector<int32_t>> prompts;  // of rows, in order
  int64_t longest = 0;                        // tokens
};

// Rows of LoadPrompts; what of them is not used is told. DataLoss where it refuses them.
absl::StatusOr<std::vector<PromptRow>> ReadPromptRows(const std::string& path);

struct AskOptions {
  std::string system = {};                 // words in front, which a conversation may have itself
  int64_t max_new_tokens = 0;              // of an answer, for which there must be positions
  std::string limit = "--max_new_tokens";  // what users call it
};
// InvalidArgument where the template or the model's positions refuse a row; of rows of a file
// DataLoss, with a line for each of the first kMaxFaults of them.
absl::StatusOr<Questions> AskRows(std::vector<PromptRow> rows, Speech speech,
                                  const ModelSpec& model, const AskOptions& options);

}  // namespace fttrain
