// Collectives of ranks on one host through a shared memory segment: each rank writes what the
// others need into its own area, all meet, each reads. MPI would copy the same bytes through many
// small fragments.
#pragma once

#include <c10/core/ScalarType.h>
#include <mpi.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <stdexcept>
#include <vector>

#include "runtime/comm/communicator.h"
#include "runtime/comm/shared_segment.h"

namespace fttrain {

class HostExchange {
 public:
  // Null on every rank unless all ranks of `comm` are on one host and each could map the segment (a
  // container's /dev/shm may be too small): then MPI carries the bytes. Collective over `comm`.
  // While a rank waits it calls `poll` now and then, so that other operations of this process get
  // on.
  static std::unique_ptr<HostExchange> Create(MPI_Comm comm, std::function<void()> poll);
  HostExchange(const HostExchange&) = delete;
  HostExchange& operator=(const HostExchange&) = delete;

  // Ranks that meet in different operations; says in which the other is.
  class AtOdds : public std::runtime_error {
   public:
    using std::runtime_error::runtime_error;
  };

  // Contracts as in Communicator, on CPU buffers; all block. Sums are made in rank order. Throw
  // AtOdds before anything of another operation is taken for this one's.
  void AllReduce(c10::ScalarType dtype, ReduceOp op, void* data, int64_t elements);
  // input: `bytes`, output: size * bytes; input may be its place in output.
  void AllGather(c10::ScalarType dtype, const void* input, void* output, int64_t bytes);
  // output: `elements`, input: size * elements; output may be its place in input.
  void ReduceScatter(c10::ScalarType dtype, const void* input, void* output, int64_t elements);

 private:
  HostExchange(int rank, int size, std::unique_ptr<SharedSegment> segment,
               std::function<void()> poll);
  // Every meeting has two areas per rank in turn: what a rank wrote for meeting s is read between
  // meetings s and s + 1, and written over for meeting s + 2, after all have left s + 1.
  char* Mine() { return AreaOf(rank_, meeting_ + 1); }
  const char* Of(int peer) const { return AreaOf(peer, meeting_); }
  char* AreaOf(int rank, uint64_t meeting) const;
  std::atomic<uint64_t>& ArrivalsOf(int rank) const;
  // What a rank meets the others for, in turn as the areas.
  std::atomic<uint64_t>& PurposeOf(int rank, uint64_t meeting) const;
  // Shows Mine() to the others and returns when all have done so.
  void Meet(uint64_t purpose);
  // Combines `own` with what each peer holds at `offset` of its area into `out`.
  void Reduce(c10::ScalarType dtype, ReduceOp op, const void* own, int64_t offset, int64_t elements,
              void* out);

  int rank_, size_;
  std::unique_ptr<SharedSegment> segment_;
  uint64_t meeting_ = 0;
  std::function<void()> poll_;
  std::vector<const void*> parts_;
};

}  // namespace fttrain
