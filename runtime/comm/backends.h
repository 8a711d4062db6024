// The ways to make communicators.
#pragma once

#include "runtime/comm/communicator.h"

namespace fttrain {

// Which ranks a communicator joins: those with equal `color`, ordered by `key`; color < 0: this
// rank takes no part and gets null.
struct CommunicatorSpec {
  std::string axis;
  int color = 0, key = 0;
  int size = 1;  // the ranks that share the color
  Communicator::Use use = Communicator::Use::kCollectives;
};
// A way to make communicators: CreateMpiCommunicator, CreateNcclCommunicator or, for a rehearsal,
// one of the silent ones.
// Collective over the world, every rank in the same order.
using CommBackend = absl::StatusOr<std::unique_ptr<Communicator>> (*)(const Process& process,
                                                                      const CommunicatorSpec& spec);

// Makes a communicator and connects it. Agrees on errors, but for CommError where ranks cannot
// connect: others may wait already for the rank that cannot. Collective over the world, every rank
// in the same order.
absl::StatusOr<std::unique_ptr<Communicator>> CreateCommunicator(CommBackend backend,
                                                                 const Process& process,
                                                                 const CommunicatorSpec& spec);

// Over MPI. Collectives are direct exchanges: with n ranks, each sends its blocks straight to their
// receivers, and sums are made by one rank per element, in rank order. MPI moves bytes only, so
// every dtype works, and the sum is our own vectorised code.
absl::StatusOr<std::unique_ptr<Communicator>> CreateMpiCommunicator(const Process& process,
                                                                    const CommunicatorSpec& spec);

// Over NCCL, for CUDA tensors: one stream of its own, ordered with the caller's current stream by
// events. The current CUDA device must be this rank's own: NCCL refuses two ranks on one GPU.
// FailedPrecondition if the NCCL that was loaded is not the one compiled for, Unimplemented in a
// build without CUDA.
absl::StatusOr<std::unique_ptr<Communicator>> CreateNcclCommunicator(const Process& process,
                                                                     const CommunicatorSpec& spec);

// Of a stand-in (Process::StandIn): nothing is sent, what is received has any values. They ask for
// the memory that CreateMpiCommunicator's of ranks on one host would, and CreateNcclCommunicator's.
absl::StatusOr<std::unique_ptr<Communicator>> CreateSilentCommunicator(
    const Process& process, const CommunicatorSpec& spec);
absl::StatusOr<std::unique_ptr<Communicator>> CreateSilentNcclCommunicator(
    const Process& process, const CommunicatorSpec& spec);

// A communicator of one rank, for tests and single-rank runs.
std::unique_ptr<Communicator> MakeSelfCommunicator(std::string axis);

}  // namespace fttrain
