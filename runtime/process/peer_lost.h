// The error of a rank that another has left alone.
#pragma once

#include "runtime/process/check.h"

namespace fttrain {

// A transport reports that a peer, or the way to it, is gone. A process that nobody saves from it
// (Process::AbortJobOnUncaught) ends with an exit code that tells so: the cause is elsewhere.
class PeerLostError : public CommError {
 public:
  static constexpr int kExitCode = 82;
  using CommError::CommError;
};

}  // namespace fttrain
