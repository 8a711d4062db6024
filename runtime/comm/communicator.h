// Collectives over one axis of the mesh. Two implementations, one contract: MpiCommunicator (CPU
// tensors of every dtype, and CUDA tensors staged through pinned host memory) and NcclCommunicator
// (CUDA tensors).
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "runtime/comm/work.h"
#include "runtime/process/process.h"

namespace fttrain {

class HostChannel;

enum class ReduceOp { kSum, kMax };

// What one rank has sent over one axis. `wire_bytes` follows the ring algorithms' closed form, so
// that a test can compare it with arithmetic; of a tensor of B bytes, or shards of b:
//   all_reduce 2(n-1)/n * B (rounded down); all_gather and reduce_scatter (n-1) * b; send B;
//   all_to_all what goes to others.
// `calls` counts the calls of this rank, receives included.
struct Traffic {
  int64_t calls = 0;
  int64_t wire_bytes = 0;
};

// Between each two ranks of a communicator with Use::kExchanges, on NCCL, which keeps buffers of
// about 12 MiB of a GPU for each.
inline constexpr int kExchangeChannels = 8;

// Collective: every rank of the axis calls the same methods in the same order with equal dtypes and
// the shapes stated, from the thread that created the Process. Tensors are contiguous
// (TORCH_CHECK). dtypes: float64, float32, bfloat16, int64, uint8. bfloat16 sums are accumulated in
// float32 and rounded once per reduction step; every rank receives the same bits, and
// MpiCommunicator adds in rank order. A communicator of size 1 sends and counts nothing; where
// input and output differ it copies. In-place forms are allowed: AllGather's input may be block
// `rank` of its output, ReduceScatter's output block `rank` of its input. Empty tensors are allowed
// everywhere. `Process` must outlive it. Two ranks that send to each other must order it, the lower
// rank sending first, or receive asynchronously before they send: NCCL runs the operations of one
// axis one after another.
class Communicator {
 public:
  Communicator(std::string axis, const Members& members);
  // Completes what was issued, which may wait for peers; not while an exception unwinds.
  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  const std::string& axis() const { return axis_; }
  int rank() const { return members_.rank; }
  int size() const { return static_cast<int>(members_.ranks.size()); }
  const Traffic& traffic() const { return traffic_; }
  // "all_reduce[tp] on rank 1/2, 4096 bytes: reason", for a CommError.
  std::string ErrorText(const char* operation, int64_t bytes, const std::string& reason) const;
  // While it lives the process is told that the host waits for `operation`, a literal, with `peer`.
  // call: its number among the collectives, from 1; 0: not told.
  Activity::Waiting Waits(const char* operation, int64_t bytes, int peer = -1,
                          int64_t call = 0) const;

  // In place, tensor [...].
  void AllReduce(at::Tensor tensor, ReduceOp op = ReduceOp::kSum);
  // input [n, ...] -> output [size * n, ...], shards in rank order.
  void AllGather(const at::Tensor& input, at::Tensor output);
  // input [size * n, ...] -> output [n, ...], summed; rank r receives rows [r * n, (r + 1) * n).
  void ReduceScatter(const at::Tensor& input, at::Tensor output);
  // Rows for each rank, and from each (MPI_Alltoallv): input [sum of sent, ...] -> output [sum of
  // received, ...], sent[p] rows for rank p and received[p] from it, blocks in rank order; received
  // is what the others' `sent` say of this rank, told before. A rank takes part that has no rows.
  // Not in place.
  void AllToAll(const at::Tensor& input, at::Tensor output, const std::vector<int64_t>& sent,
                const std::vector<int64_t>& received);
  void Send(const at::Tensor& tensor, int peer);
  void Recv(at::Tensor tensor, int peer);
  virtual void Barrier() = 0;  // of hosts: returns after every rank has entered

  // What a communicator is for: operations of all its ranks but all_to_all; messages from rank 0 of
  // two to rank 1 alone; operations of all, messages from each to rank 0 and from rank 0 to the
  // last; operations of all, all_to_all and messages too.
  enum class Use { kCollectives, kMessages, kWithFirst, kExchanges };
  // Makes the connections that these need: none later waits on the host for a peer, nor asks for
  // memory that nobody reckoned with. Collective. Throws CommError, perhaps on one rank for which
  // others wait already: the job must end.
  virtual void Connect(Use /*use*/) {}

  // Whether an operation occupies the device until its peers join, as NCCL's kernels do, and may
  // hold up what is issued meanwhile: a kernel's first launch, say (CUDA Programming Guide, lazy
  // loading). So nothing may be asked for whose sender waits for work yet to be issued.
  virtual bool OccupiesDevice() const { return false; }

  // Shared memory from rank 0 to rank 1 of two (channel.h); null where there is none. Collective.
  virtual std::unique_ptr<HostChannel> OpenHostChannel(int places, int64_t place_bytes);

  std::unique_ptr<Work> AllReduceAsync(at::Tensor tensor, ReduceOp op = ReduceOp::kSum);
  std::unique_ptr<Work> AllGatherAsync(const at::Tensor& input, at::Tensor output);
  std::unique_ptr<Work> ReduceScatterAsync(const at::Tensor& input, at::Tensor output);
  std::unique_ptr<Work> SendAsync(const at::Tensor& tensor, int peer);
  std::unique_ptr<Work> RecvAsync(at::Tensor tensor, int peer);

 protected:
  const Members& members() const { return members_; }
  const std::string* place() const { return place_; }   // the axis and its ranks, in words
  int RankInJob(int peer) const;                        // -1 of -1
  int64_t collectives() const { return collectives_; }  // begun so far
  // A caller that waits at once may be served by a faster way that blocks. Both kinds of an
  // operation give the same bits.
  enum class Mode { kBlocking, kAsync };
  // Implementations start the operation, or return null where it is done, of checked shapes that
  // are not empty, among several ranks.
  virtual std::unique_ptr<Work> DoAllReduce(at::Tensor tensor, ReduceOp op, Mode mode) = 0;
  virtual std::unique_ptr<Work> DoAllGather(at::Tensor input, at::Tensor output, Mode mode) = 0;
  virtual std::unique_ptr<Work> DoReduceScatter(at::Tensor input, at::Tensor output, Mode mode) = 0;
  // Of one whose tensors may be empty here and not on others.
  virtual std::unique_ptr<Work> DoAllToAll(at::Tensor input, at::Tensor output,
                                           const std::vector<int64_t>& sent,
                                           const std::vector<int64_t>& received) = 0;
  virtual std::unique_ptr<Work> DoSend(at::Tensor tensor, int peer) = 0;
  virtual std::unique_ptr<Work> DoRecv(at::Tensor tensor, int peer) = 0;

 private:
  std::unique_ptr<Work> StartAllReduce(at::Tensor tensor, ReduceOp op, Mode mode);
  std::unique_ptr<Work> StartAllGather(const at::Tensor& input, at::Tensor output, Mode mode);
  std::unique_ptr<Work> StartReduceScatter(const at::Tensor& input, at::Tensor output, Mode mode);
  void Count(int64_t wire_bytes);

  std::string axis_;
  Members members_;
  const std::string* place_ = nullptr;
  Traffic traffic_;
  int64_t collectives_ = 0;
};

}  // namespace fttrain
