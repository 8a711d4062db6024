// Which ranks hold which slice of every parameter; whole parameters to and from rank 0; and whether
// all who hold a slice hold the same bits. For verification: it goes by what ranks declare, over a
// communicator of its own, so that a fault of the mesh's axes or of a layout's sums cannot hide.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "launch/run/network.h"
#include "launch/verify/report.h"
#include "runtime/comm/communicator.h"

namespace fttrain {

struct HeldSlice {
  ParamSlice slice;
  std::vector<int> ranks;  // that hold it, ascending
};

// 64 bits of the values' bytes: FNV-1a (Fowler, Noll, Vo) over words of eight. Tensors that differ
// in one word alone always differ in it; others by chance agree once in 2^64.
int64_t HashOf(const at::Tensor& values);

class ReplicaMap {
 public:
  // Maps a network's parameters, which go by their index in Network::declared; `network` must
  // outlive it. Agrees on errors. Collective over the world of `process`, as are all calls, on all
  // ranks with the same parameter.
  static absl::StatusOr<ReplicaMap> Create(const Network& network, const Process& process);

  // By parameter; the same on every rank. Not collective, nor are the three below.
  const std::vector<std::vector<HeldSlice>>& slices() const { return slices_; }
  const Parameter& Declared(size_t parameter) const { return *network_->declared.all()[parameter]; }
  // This rank's part of it; null if it holds none.
  const Parameter* Local(size_t parameter) const {
    return network_->parameters.Find(Declared(parameter).slice.name);
  }
  bool on_first_rank() const { return world_->rank() == 0; }

  // `local` [LocalShape()], on any device, where this rank holds a slice. Collect returns on rank 0
  // the whole, [global_shape] in host memory, of the first holder of each slice, of the same
  // `dtype`; elsewhere an undefined tensor. Distribute fills `local` from rank 0's `whole`.
  at::Tensor Collect(size_t parameter, const at::Tensor& local, at::ScalarType dtype) const;
  void Distribute(size_t parameter, const at::Tensor& whole, const at::Tensor& local) const;

  // Replicas that are not what most are (what the lowest rank has, where none are more), as
  // deviations of `what` in `step`. `hashes`: by parameter, any where this rank holds nothing. The
  // same result on every rank.
  std::vector<Deviation> Compare(int64_t step, const std::string& what,
                                 const std::vector<int64_t>& hashes) const;

 private:
  ReplicaMap() = default;
  void Transfer(const at::Tensor& from, int source, const at::Tensor& to, int target) const;

  const Network* network_ = nullptr;
  std::vector<std::vector<HeldSlice>> slices_;
  std::unique_ptr<Communicator> world_;
};

}  // namespace fttrain
