// The Communicator over MPI. Collectives are direct exchanges: with n ranks, each sends its blocks
// straight to their receivers, and sums are made by one rank per element, in rank order. MPI moves
// bytes only, so every dtype works, and the sum is our own vectorised code.
#pragma once

#include "runtime/comm/communicator.h"

namespace fttrain {

// Collective over the world; see CreateCommunicator.
absl::StatusOr<std::unique_ptr<Communicator>> CreateMpiCommunicator(const Process& process,
                                                                    std::string axis, int color,
                                                                    int key);

}  // namespace fttrain
