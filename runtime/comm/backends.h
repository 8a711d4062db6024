// The implementations of Communicator, for CreateCommunicator alone; each is collective over the
// world as that is.
#pragma once

#include "runtime/comm/communicator.h"

namespace fttrain {

// Over MPI. Collectives are direct exchanges: with n ranks, each sends its blocks straight to their
// receivers, and sums are made by one rank per element, in rank order. MPI moves bytes only, so
// every dtype works, and the sum is our own vectorised code.
absl::StatusOr<std::unique_ptr<Communicator>> CreateMpiCommunicator(const Process& process,
                                                                    std::string axis, int color,
                                                                    int key);

// Over NCCL, for CUDA tensors: one stream of its own, ordered with the caller's current stream by
// events. The current CUDA device must be this rank's own: NCCL refuses two ranks on one GPU.
// FailedPrecondition if the NCCL that was loaded is not the one compiled for, Unimplemented in a
// build without CUDA.
absl::StatusOr<std::unique_ptr<Communicator>> CreateNcclCommunicator(const Process& process,
                                                                     std::string axis, int color,
                                                                     int key);

}  // namespace fttrain
