// `post_processor` of tokenizer.json: the special tokens around a text. ByteLevel,
// TemplateProcessing, Sequence.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace fttrain {

class JsonNode;

struct PostProcessor {
  std::vector<int32_t> before, behind;
  std::vector<std::pair<std::string, int32_t>> named;  // the tokens that the file takes them for

  // An absent node adds nothing. Other types are refused by name.
  static absl::StatusOr<PostProcessor> Create(const JsonNode& node);
};

}  // namespace fttrain
