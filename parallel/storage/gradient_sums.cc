#include "parallel/storage/gradient_sums.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "runtime/memory/ledger.h"

namespace fttrain {
namespace {

// The slice's place in `flat`, which holds the whole parameter from `offset` on.
at::Tensor PlaceInGlobal(const at::Tensor& flat, int64_t offset, const Parameter& parameter) {
  const ParamSlice& slice = parameter.slice;
  return slice.PartOf(flat.narrow(0, offset, slice.GlobalNumel()).view(slice.global_shape));
}

// kShared: each holder puts its part at the slice's place in zeros of the global shape, so that one
// all_reduce over the whole axis sums exactly the holders of each slice, without a communicator for
// them.
void SumSharedOverTp(const FlatBuffer& flat, const at::TensorOptions& options, Communicator& tp) {
  std::vector<std::pair<const Parameter*, int64_t>> places;
  int64_t numel = 0;
  for (const FlatBuffer::Entry& entry : flat.entries) {
    if (entry.parameter->placement.tp != AxisGradient::kShared) continue;
    places.emplace_back(entry.parameter, numel);
    numel += entry.parameter->slice.GlobalNumel();
  }
  if (places.empty()) return;
  MemoryScope scope(MemoryCategory::kCommunication);
  const at::Tensor whole = at::zeros({numel}, options);
  for (const auto& [parameter, offset] : places) {
    PlaceInGlobal(whole, offset, *parameter).copy_(parameter->grad);
  }
  tp.AllReduce(whole);
  for (const auto& [parameter, offset] : places) {
    parameter->grad.copy_(PlaceInGlobal(whole, offset, *parameter));
  }
}

// Received at a time: the table's gradient may be large.
constexpr int64_t kPieceBytes = int64_t{16} << 20;

void AddOthers(at::Tensor gradient, Communicator& pp) {
  MemoryScope scope(MemoryCategory::kCommunication);
  const bool first = pp.rank() == 0;
  const int peer = first ? pp.size() - 1 : 0;
  const int64_t numel = gradient.numel();
  const int64_t piece = kPieceBytes / gradient.element_size();
  const at::Tensor theirs = at::empty({std::min(piece, numel)}, gradient.options());
  for (int64_t begin = 0; begin < numel; begin += piece) {
    const int64_t count = std::min(piece, numel - begin);
    const at::Tensor mine = gradient.narrow(0, begin, count), other = theirs.narrow(0, 0, count);
    if (first) pp.Send(mine, peer);
    pp.Recv(other, peer);
    if (!first) pp.Send(mine, peer);
    mine.add_(other);
  }
}

// Whether the rank, of those along the axis, counts the slice that it holds.
bool CountsAlong(const ParamSlice& slice, AxisGradient gradient, int size, int rank) {
  if (gradient == AxisGradient::kOwned) return true;
  if (gradient != AxisGradient::kShared || slice.dim < 0) return rank == 0;
  const int64_t whole = slice.global_shape[static_cast<size_t>(slice.dim)];
  const int64_t holders = slice.extent * size / whole;
  return rank % holders == 0;
}

// Whether this rank, among those with the same shard, is the one that counts the parameter in the
// norm of the whole model.
bool CountsInNorm(const Parameter& parameter, const Mesh& mesh) {
  const AxisSet replicas = parameter.placement.Replicas(mesh.shape());
  for (const Axis axis : kEveryAxis) {
    if (replicas.Has(axis)) continue;  // each counts its shard
    if (!CountsAlong(parameter.slice, parameter.placement.along(axis), mesh.shape().size(axis),
                     IndexIn(mesh.shape(), mesh.position(), {axis}))) {
      return false;
    }
  }
  return true;
}

void CheckSharedSlice(const Parameter& parameter, int tp_size) {
  if (parameter.placement.tp != AxisGradient::kShared || parameter.slice.dim < 0) return;
  const ParamSlice& slice = parameter.slice;
  const int64_t whole = slice.global_shape[static_cast<size_t>(slice.dim)];
  TORCH_CHECK(
      slice.extent > 0 && whole % slice.extent == 0 && tp_size % (whole / slice.extent) == 0,
      slice.name, ": slices of ", slice.extent, " of ", whole,
      " cannot be held by equal groups of the ", tp_size, " tp ranks");
}

}  // namespace

void SumOverTp(const FlatBuffer& flat, const at::Tensor& gradients, Communicator& tp) {
  if (tp.size() == 1) return;
  const FlatRange partial = flat.RangeOf(AxisGradient::kPartial);
  if (partial.size() > 0) tp.AllReduce(gradients.narrow(0, partial.begin, partial.size()));
  SumSharedOverTp(flat, gradients.options(), tp);
}

void SumOverBothEnds(const FlatBuffer& flat, FlatRange owned, Communicator& pp) {
  if (pp.size() == 1 || (pp.rank() > 0 && pp.rank() < pp.size() - 1)) return;
  for (const FlatBuffer::Entry& entry : flat.entries) {
    if (entry.parameter->placement.pp != AxisGradient::kPartial) continue;
    const int64_t begin = entry.offset, end = begin + entry.parameter->slice.LocalNumel();
    AddOthers(flat.GradientsIn(Intersect({begin, end}, owned)), pp);
  }
}

// The gaps between parameters are zeros.
std::vector<FlatRange> CountedRanges(const FlatBuffer& flat, const Mesh& mesh) {
  std::vector<FlatRange> ranges;
  bool open = false;
  for (size_t i = 0; i < flat.entries.size(); ++i) {
    const auto& [parameter, begin] = flat.entries[i];
    const int64_t end = i + 1 < flat.entries.size() ? flat.entries[i + 1].offset : flat.numel();
    const bool counts = CountsInNorm(*parameter, mesh);
    if (counts && open) ranges.back().end = end;
    if (counts && !open) ranges.push_back({begin, end});
    open = counts;
  }
  return ranges;
}

void CheckShared(const ParameterSet& set, int tp_size) {
  for (const Parameter* parameter : set.Trainable()) CheckSharedSlice(*parameter, tp_size);
}

}  // namespace fttrain
