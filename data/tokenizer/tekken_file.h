// tekken.json, the format of Mistral's tokenizers since 2024 (mistral-common): byte-level BPE whose
// merges follow from the tokens' ranks.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace fttrain {

class JsonNode;

struct TekkenFile {
  std::vector<std::string> tokens;    // bytes; the id of tokens[i] is specials.size() + i
  std::vector<std::string> specials;  // by id
  std::string pattern;                // what cuts text into words; Rust's syntax

  // InvalidArgument, naming file and JSON path, for what is malformed or not understood.
  static absl::StatusOr<TekkenFile> Read(const JsonNode& root);
};

}  // namespace fttrain
