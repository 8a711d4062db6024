// What the MPI calls of runtime/ share. Include it in .cc files only: nothing else sees <mpi.h>.
#pragma once

#include <mpi.h>

#include <string>

#include "runtime/process/process.h"

namespace fttrain {

// The world of a Process; errors on it end the job.
inline MPI_Comm WorldOf(const Process& process) {
  return *static_cast<const MPI_Comm*>(process.world());
}

// The text of an MPI error code.
std::string MpiErrorText(int code);

// Whether the code says that a peer or the way to it is gone, and not that a call was wrong.
bool IsPeerLost(int code);

// A communicator of some ranks of the world.
struct WorldPart {
  MPI_Comm comm = MPI_COMM_NULL;
  Members members;
};
// That of the ranks with equal color, ordered by key (MPI_COMM_NULL for color < 0); MPI errors on
// it are returned as codes. Collective over the world. Freed by MPI_Finalize: MPI_Comm_free is
// collective, and destructors must not be.
absl::StatusOr<WorldPart> SplitWorld(const Process& process, int color, int key);

}  // namespace fttrain
