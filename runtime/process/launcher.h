// Who started this process: mpirun, or another launcher whose processes MPI knows nothing of.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"

namespace fttrain {

// The value of an environment variable, or null: std::getenv, or a test's table.
using Environment = std::function<const char*(const char* name)>;

// FailedPrecondition if the environment says that a launcher has started several processes, but MPI
// has found one alone (`world_size` 1): torchrun, srun or another MPI's mpiexec has started them,
// and each would train for itself and write where the others write. The message names the variable
// and how to start instead. OK for a process that was started alone, also in a batch script, and
// wherever MPI has found others. Pure.
absl::Status CheckLauncher(const Environment& environment, int world_size);

}  // namespace fttrain
