// How long a text may become before it is cut into words.
#pragma once

#include <cstddef>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace fttrain {

// Four times the longest row. A few steps after each other could make terabytes of a short text.
constexpr size_t kMaxNormalizedBytes = size_t{1} << 28;

// ResourceExhausted where `bytes` and `count` times `each` more are beyond that.
inline absl::Status CheckNormalizedBytes(size_t bytes, size_t count = 0, size_t each = 0) {
  if (bytes <= kMaxNormalizedBytes &&
      (count == 0 || each <= (kMaxNormalizedBytes - bytes) / count)) {
    return absl::OkStatus();
  }
  return absl::ResourceExhaustedError(
      absl::StrCat("the tokenizer's replacements make more than ", kMaxNormalizedBytes,
                   " bytes of a text: its file is no tokenizer's, download it again"));
}

}  // namespace fttrain
