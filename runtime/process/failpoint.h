// Places in the code where tests make a process fail: FT_FAILPOINT("ckpt.copied"). In the program
// that is shipped they are nothing; tests/faults compiles the files that have some once more, with
// FTTRAIN_FAULTS=1, into a program of its own.
#pragma once

#include "absl/status/status.h"

namespace fttrain {

// Does what the variable FTTRAIN_FAULT says if it names this place and this rank:
// NAME[:rank=R][:at=N][:kill|throw|hang|error], of all ranks and the first time (at=1) unless it
// says otherwise. kill: SIGKILL, as by default; throw: a std::runtime_error; hang: never returns;
// error: Unavailable. OK in all other cases. Also from threads. Ends the process where the
// variable cannot be read.
absl::Status Failpoint(const char* name);

}  // namespace fttrain

#if defined(FTTRAIN_FAULTS) && FTTRAIN_FAULTS
#define FT_FAILPOINT(name) ::fttrain::Failpoint(name).IgnoreError()
// Returns the error from the enclosing function.
#define FT_FAILPOINT_OR_RETURN(name) FT_RETURN_IF_ERROR(::fttrain::Failpoint(name))
#else
#define FT_FAILPOINT(name) static_cast<void>(0)
#define FT_FAILPOINT_OR_RETURN(name) static_cast<void>(0)
#endif
