// The Communicator over NCCL, for CUDA tensors: one stream of its own, ordered with the caller's
// current stream by events. In a build without CUDA the factory returns Unimplemented.
#pragma once

#include "runtime/comm/communicator.h"

namespace fttrain {

// Collective over the world; see CreateCommunicator. The current CUDA device must be this rank's
// own: NCCL refuses two ranks on one GPU. FailedPrecondition if the NCCL that was loaded is not the
// one compiled for.
absl::StatusOr<std::unique_ptr<Communicator>> CreateNcclCommunicator(const Process& process,
                                                                     std::string axis, int color,
                                                                     int key);

}  // namespace fttrain
