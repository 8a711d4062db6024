// What a failed command leaves the shell with (sysexits.h where it has a word), as launch/README.md
// tells users.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "runtime/process/status_payload.h"

namespace fttrain {

inline constexpr int kExitUsage = 64;    // flags, config, layout
inline constexpr int kExitData = 65;     // a model or data file is bad
inline constexpr int kExitNoInput = 66;  // an input is missing
inline constexpr int kExitInternal = 70;
inline constexpr int kExitCannotCreate = 73;  // an output cannot be made, or another run has it
inline constexpr int kExitIo = 74;            // cannot write or read: the disk is full or fails
inline constexpr int kExitPreempted = 75;     // stopped when asked, with a checkpoint: start again
inline constexpr int kExitRanksDisagree = 76;
inline constexpr int kExitPermission = 77;
inline constexpr int kExitNumerics = 80;  // loss or gradients are not finite, or wrong (verify)
inline constexpr int kExitHang = 81;      // nothing moved for too long
inline constexpr int kExitPeerLost = 82;
inline constexpr int kExitReplicaMismatch = 83;

inline constexpr const char* kExitCodePayload = "fttrain/exit_code";

// `status`, an error, with an exit code that its own code does not tell. Ranks that agree on it
// keep it (AgreeOnStatus).
inline absl::Status WithExitCode(absl::Status status, int exit_code) {
  status.SetPayload(kExitCodePayload, absl::Cord(absl::StrCat(exit_code)));
  return status;
}

inline int ExitCode(const absl::Status& status) {
  const auto carried = status.GetPayload(kExitCodePayload);
  int code = 0;
  if (carried && absl::SimpleAtoi(std::string(*carried), &code)) return code;
  switch (status.code()) {
    case absl::StatusCode::kOk:
      return 0;
    case absl::StatusCode::kInvalidArgument:
    case absl::StatusCode::kFailedPrecondition:
    case absl::StatusCode::kUnimplemented:
      return kExitUsage;
    case absl::StatusCode::kDataLoss:
    case absl::StatusCode::kOutOfRange:
      return kExitData;
    case absl::StatusCode::kNotFound:
      return kExitNoInput;
    case absl::StatusCode::kUnavailable:
    case absl::StatusCode::kResourceExhausted:
      return kExitIo;
    case absl::StatusCode::kPermissionDenied:
      return kExitPermission;
    case absl::StatusCode::kAborted:
      return kExitNumerics;
    default:
      return kExitInternal;
  }
}

// The status of reading a file: a reader calls what it cannot accept an invalid argument, which for
// the command is a bad file (65), not a wrong use (64).
inline absl::Status FromFile(const absl::Status& status) {
  const bool refused = status.code() == absl::StatusCode::kInvalidArgument ||
                       status.code() == absl::StatusCode::kFailedPrecondition ||
                       status.code() == absl::StatusCode::kUnimplemented;
  if (!refused) return status;
  return WithPayloadsOf(status, absl::Status(absl::StatusCode::kDataLoss, status.message()));
}
template <typename T>
absl::StatusOr<T> FromFile(absl::StatusOr<T> result) {
  if (result.ok()) return result;
  return FromFile(result.status());
}

}  // namespace fttrain
