// The flags that `generate` and `chat` share.
#pragma once

#include "absl/status/statusor.h"
#include "launch/command_line.h"
#include "launch/run/generation.h"

namespace fttrain {

// --max_new_tokens, --temperature, --top_k, --top_p, --repetition_penalty, --seed. InvalidArgument
// for one that is no such number, and for one that a greedy choice would not use.
absl::StatusOr<GenerationOptions> ReadGenerationFlags(const CommandLine& line);

}  // namespace fttrain
