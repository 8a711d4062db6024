// What a status carries beside its code and message, and its form on the way to other ranks.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace fttrain {

// `status` with the payloads of `from`, as where a message or a code is replaced.
absl::Status WithPayloadsOf(const absl::Status& from, absl::Status status);

// The process in which a status arose.
struct Origin {
  int rank = 0;
  std::string host;
  int64_t pid = 0;
};
absl::Status WithOrigin(absl::Status status, const Origin& origin);  // `status` is an error
// What AgreeOnStatus says of an agreed error; nothing where no ranks have agreed on it.
std::optional<Origin> OriginOf(const absl::Status& status);

// Code, message and all payloads as bytes, and back. What Pack() has not made is an Internal error.
std::string Pack(const absl::Status& status);
absl::Status Unpack(std::string_view packed);

}  // namespace fttrain
