// What the rows of a file say of the config that trains on them.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "launch/init/starter.h"
#include "model/config/spec.h"

namespace fttrain {

// Reads the first rows of starter.data with the tokenizer of `folder` and sets format, template,
// packing, the rows of a step and the warm-up, and, where it is 0, sequence_len. What is strange of
// the rows is told. Errors as LookAtRows's.
absl::Status FitToRows(const std::string& folder, const ModelSpec& model, Starter& starter);

// Without a tokenizer: the format alone; sequence_len is a usual one where it is 0.
absl::Status FitToFile(const ModelSpec& model, Starter& starter);

}  // namespace fttrain
