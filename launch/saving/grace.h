// How long a run that is asked to stop has before it is killed.
#pragma once

#include <optional>
#include <string>

namespace fttrain {

// Seconds: of FTTRAIN_GRACE, as launch/ scripts set it; without it those from a SIGTERM to mpirun
// to its SIGKILL (odls_base_sigkill_timeout), where mpirun has started this rank. Nothing: as many
// as it likes.
std::optional<double> GraceSeconds();

// What to do about a checkpoint that took so many seconds to save; empty where that is in time.
std::string GraceWarning(double seconds);

}  // namespace fttrain
