// Which ranks hold which slice of every parameter; whole parameters to and from rank 0; and whether
// all who hold a slice hold the same bits. For verification: it goes by what ranks declare, over a
// communicator of its own, so that a fault of the mesh's axes or of a layout's sums cannot hide.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "parallel/layout/param.h"
#include "runtime/comm/communicator.h"
#include "runtime/process/process.h"

namespace fttrain {

// [offset, offset + extent) of a parameter's dimension `dim` (< 0: all of it), and who holds it.
struct HeldSlice {
  int dim = -1;
  int64_t offset = 0, extent = 0;
  std::vector<int> ranks = {};  // ascending
};
// The slice's part of a whole parameter; a view.
at::Tensor PartOf(const at::Tensor& whole, const HeldSlice& slice);

// Replicas of a slice that are not what most are (what the lowest rank has, where none are more).
struct ReplicaFault {
  int64_t parameter = 0;  // index of `declared`
  std::vector<int> wrong, right;
};

// 64 bits of the values' bytes: FNV-1a (Fowler, Noll, Vo) over words of eight. Tensors that differ
// in one word alone always differ in it; others by chance agree once in 2^64.
uint64_t HashOf(const at::Tensor& values);

class Holders {
 public:
  // `declared`: the whole model's parameters (DeclareWholeModel), `set`: this rank's. Both must
  // outlive it. Agrees on errors. Collective over the world of `process`.
  static absl::StatusOr<std::unique_ptr<Holders>> Create(const ParameterSet& declared,
                                                         const ParameterSet& set,
                                                         const Process& process);

  // By index of `declared`, ascending in rank of the first holder; the same on every rank.
  const std::vector<std::vector<HeldSlice>>& slices() const { return slices_; }
  // This rank's parameter of that index; null if it holds none of it.
  const Parameter* Mine(int64_t parameter) const { return mine_[static_cast<size_t>(parameter)]; }
  bool on_first_rank() const { return world_->rank() == 0; }

  // Collective, all ranks with the same `parameter`. `local` [LocalShape()], on any device, where
  // this rank holds a slice; `whole` [global_shape] in host memory, of the same dtype, on rank 0.
  // Collect fills `whole` from the first holder of each slice, Distribute `local` from `whole`.
  void Collect(int64_t parameter, const at::Tensor& local, at::Tensor whole) const;
  void Distribute(int64_t parameter, const at::Tensor& whole, at::Tensor local) const;

  // `mine`: a hash by index of `declared`, any where this rank holds nothing. The same result on
  // every rank. Collective.
  std::vector<ReplicaFault> Compare(const std::vector<uint64_t>& mine) const;

 private:
  Holders() = default;
  const ParameterSet* declared_ = nullptr;
  std::vector<const Parameter*> mine_;
  std::vector<std::vector<HeldSlice>> slices_;
  std::unique_ptr<Communicator> world_;
};

}  // namespace fttrain
