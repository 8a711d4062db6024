// A model's config.json, for the families we train (families/families.h), as a ModelSpec. Both
// spellings of transformers 4 (rope_theta, rope_scaling) and 5 (rope_parameters) are read; a
// missing key has transformers' default for the family. What we cannot compute exactly is refused
// by file and key.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "model/config/spec.h"

namespace fttrain {

// InvalidArgument for text that is not a config of these families, naming `file` and the key.
absl::StatusOr<ModelSpec> ParseModelConfig(std::string_view config_json, const std::string& file);

// Reads FOLDER/config.json.
absl::StatusOr<ModelSpec> LoadModelConfig(const std::string& folder);

// Ids that end a generated answer: eos_token_id of FOLDER/generation_config.json if it is there and
// says so, else the model's.
absl::StatusOr<std::vector<int64_t>> LoadStopTokenIds(const std::string& folder,
                                                      const ModelSpec& model);

}  // namespace fttrain
