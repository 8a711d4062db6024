// What a run teaches of special tokens: where answers end, which its result then says, and what of
// it cannot be learnt.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "data/chat/taught_tokens.h"
#include "data/chat/template.h"
#include "launch/plan/task.h"

namespace fttrain {

struct Taught {
  std::vector<TaughtToken> tokens;
  // The file of that name in the result's folder: the base's, with the ids that end answers, those
  // first that init_from was taught. Empty where there are none.
  std::string generation_config;
};

// Reads generation_config.json of the task's model and init_from. Tokenizer and template may be
// null: of ready-made tokens nothing is known.
absl::StatusOr<Taught> TaughtBy(const ExampleList& examples, const Tokenizer* tokenizer,
                                const ChatTemplate* chat, const Task& task);

// A line for each token that is to be learnt though its row of the output head was never trained
// (FindEqualHeadRows); none where the head is trained. Reads the base's head: for one rank, before
// weights are loaded.
absl::StatusOr<std::vector<std::string>> UntrainedRowWarnings(const Task& task,
                                                              const Taught& taught);

}  // namespace fttrain
