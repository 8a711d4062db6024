// What a Status or a StatusOr says, for expectations.
#pragma once

#include <gmock/gmock.h>

#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/match.h"

namespace fttrain {

inline const absl::Status& StatusOf(const absl::Status& status) { return status; }
template <typename T>
const absl::Status& StatusOf(const absl::StatusOr<T>& result) {
  return result.status();
}

// The message of an error; empty where there is none.
template <typename Result>
std::string ErrorText(const Result& result) {
  return std::string(StatusOf(result).message());
}

// Matches an error of this code whose message has `part` in it.
MATCHER_P2(IsError, code, part, "") {
  *result_listener << StatusOf(arg);
  return StatusOf(arg).code() == code && absl::StrContains(StatusOf(arg).message(), part);
}

}  // namespace fttrain
