// Communicators on the CPU that wait where NCCL's do, so that a hang over NCCL is a hang here.
//
// NCCL's operations are kernels, which occupy the GPU until their peers join (User Guide, "CUDA
// Stream Semantics" and "Point-to-point communication"): a send and its receive are one rendezvous.
// The first exchange with a peer connects the two and blocks the host meanwhile (issue NVIDIA/nccl
// 783): here one that Connect has not prepared is an error. And a kernel that is launched for the
// first time may wait until the GPU is idle (CUDA Programming Guide, lazy loading).
#pragma once

#include <memory>
#include <string>

#include "runtime/comm/backends.h"

namespace fttrain {

// As CreateCommunicator. Sums are those of the communicator over MPI, bit for bit.
absl::StatusOr<std::unique_ptr<Communicator>> CreateRendezvousCommunicator(
    const Process& process, const CommunicatorSpec& spec);

// While it lives, operations of ATen on this rank are kernels that wait until all operations of
// rendezvous communicators on this rank are done. What waits for `seconds` ends the job with a text
// that names it.
class LaunchesWait {
 public:
  // The first kernel of each name, or each, and each call for memory.
  enum class For { kFirstOfAName, kEvery };
  LaunchesWait(For which, double seconds);
  ~LaunchesWait();
  LaunchesWait(const LaunchesWait&) = delete;
  LaunchesWait& operator=(const LaunchesWait&) = delete;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fttrain
