// `post_processor` of tokenizer.json: the special tokens around a text. ByteLevel,
// TemplateProcessing, Sequence.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"

namespace fttrain {

class JsonNode;

struct PostProcessor {
  std::vector<int32_t> before, behind;

  // An absent node adds nothing. Other types are refused by name.
  static absl::StatusOr<PostProcessor> Create(const JsonNode& node);
};

}  // namespace fttrain
