// Operations in flight over one MPI communicator, as a list of steps that MPI's own progress
// carries. MPI completes what it was told to send; what comes after (adding, sending the sum on) is
// done by whoever waits next, for every operation in flight, so ranks may wait in different orders.
#pragma once

#include <ATen/core/Tensor.h>
#include <mpi.h>

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace fttrain {

// One operation. Each step runs when the requests of the previous one are complete, and posts more.
struct MpiOperation {
  const char* name = "";
  int64_t bytes = 0;
  int64_t call = 0;                 // its number among the collectives; 0: it is none
  // Kept until it is waited for, not until it is complete: else what a rank holds would depend on
  // how fast others are.
  std::vector<at::Tensor> tensors;
  std::vector<MPI_Request> requests;
  std::deque<std::function<void(MpiOperation&)>> steps;
  bool complete = false;
};

// The operations in flight of one communicator.
class MpiQueue {
 public:
  explicit MpiQueue(MPI_Comm comm) : comm_(comm) {}
  // Whatever is still in flight keeps its memory for good: MPI may yet write there.
  ~MpiQueue();
  MpiQueue(const MpiQueue&) = delete;
  MpiQueue& operator=(const MpiQueue&) = delete;

  // Runs the first step. Throws std::runtime_error with the MPI text on an MPI error, as do
  // the other methods.
  void Start(const std::shared_ptr<MpiOperation>& operation);
  // Advances everything in flight until `operation` is complete.
  void WaitFor(const MpiOperation& operation);

  // Advances everything in flight, here and in the rest of the process, as far as it goes.
  void Poll();

  // For steps: queue a transfer. Large ones are split into pieces, which MPI keeps in order.
  void Isend(MpiOperation& operation, const void* data, int64_t bytes, int peer, int tag);
  void Irecv(MpiOperation& operation, void* data, int64_t bytes, int peer, int tag);

 private:
  void Advance(MpiOperation& operation);

  MPI_Comm comm_;
  std::deque<std::shared_ptr<MpiOperation>> in_flight_;
};

}  // namespace fttrain
