// generation_config.json of a model's folder, as transformers reads it: the ids at which answers
// end.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace fttrain {

inline constexpr char kGenerationConfigFile[] = "generation_config.json";

// eos_token_id, a number or a list, of the folder's file. Empty where the file or the key is not
// there. InvalidArgument by file and key.
absl::StatusOr<std::vector<int64_t>> GenerationEndIds(const std::string& folder);

// The text of the file for a model made from that of `base_folder` whose answers also end at `ids`,
// at least one: the base's, byte for byte, where it names them all; else with eos_token_id extended
// by those it lacks, all other keys as they are. The base's own ids stand first: those of its
// config.json where its generation_config.json names none, `tokenizer_eos` where that does not
// either. Of a base without the file it becomes one of what transformers otherwise takes from
// config.json: bos_token_id, eos_token_id, pad_token_id. Errors as GenerationEndIds.
absl::StatusOr<std::string> GenerationConfigWith(const std::string& base_folder,
                                                 const std::vector<int64_t>& ids,
                                                 std::optional<int64_t> tokenizer_eos = {});

}  // namespace fttrain
