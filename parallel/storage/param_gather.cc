#include "parallel/storage/param_gather.h"

#include <ATen/ATen.h>

#include <utility>

namespace fttrain {

at::Tensor GatherWhole(const ParamSlice& slice, const at::Tensor& local, Communicator& tp) {
  if (slice.dim < 0 || tp.size() == 1) return local;
  const int64_t total = slice.global_shape[slice.dim];
  at::Tensor ranges = at::empty({tp.size(), 2}, at::kLong);
  at::Tensor mine = at::tensor({slice.offset, slice.extent}, at::kLong).view({1, 2});
  if (local.is_cuda()) {
    ranges = ranges.to(local.device());
    mine = mine.to(local.device());
  }
  tp.AllGather(mine, ranges);
  ranges = ranges.cpu();
  const auto range = ranges.accessor<int64_t, 2>();
  int64_t widest = 0;
  for (int r = 0; r < tp.size(); ++r) widest = std::max(widest, range[r][1]);

  // Slices travel along dim 0 and padded to the widest, since a collective wants equal shards.
  std::vector<int64_t> shape = slice.LocalShape();
  std::swap(shape[0], shape[slice.dim]);
  shape[0] = widest;
  at::Tensor padded = at::zeros(shape, local.options());
  padded.narrow(0, 0, slice.extent).copy_(local.transpose(0, slice.dim));
  shape[0] = widest * tp.size();
  at::Tensor all = at::empty(shape, local.options());
  tp.AllGather(padded, all);

  at::Tensor whole = at::empty(slice.global_shape, local.options());
  int64_t covered = 0;
  for (int r = 0; r < tp.size(); ++r) {
    const int64_t offset = range[r][0], extent = range[r][1];
    TORCH_CHECK(offset <= covered, slice.name, ": tp rank ", r, " holds [", offset, ", ",
                offset + extent, ") of ", total, ", leaving a gap after ", covered);
    covered = std::max(covered, offset + extent);
    whole.narrow(slice.dim, offset, extent)
        .copy_(all.narrow(0, r * widest, extent).transpose(0, slice.dim));
  }
  TORCH_CHECK(covered == total, slice.name, ": the tp ranks hold ", covered, " of ", total);
  return whole;
}

std::vector<Holders> HoldersOf(const std::vector<std::string>& names, const ParameterSet& set,
                               const Mesh& mesh, c10::Device device) {
  if (names.empty()) return {};
  constexpr AxisSet kAxes = {Axis::kPp, Axis::kEp};
  // The largest of what ranks say is the first one's word.
  const int ranks = mesh.shape().size(kAxes);
  const int64_t mine = ranks - IndexIn(mesh.shape(), mesh.position(), kAxes);
  std::vector<int64_t> ranked;
  for (const std::string& name : names) ranked.push_back(set.Find(name) != nullptr ? mine : 0);
  at::Tensor held = at::tensor(ranked, at::kLong);
  if (ranks > 1) {
    held = held.to(device);
    mesh.AllReduce(held, kAxes, ReduceOp::kMax);
    held = held.cpu();
  }
  const int stages = mesh.shape().size(Axis::kPp);
  std::vector<Holders> holders;
  for (size_t i = 0; i < names.size(); ++i) {
    const auto word = static_cast<int>(held.data_ptr<int64_t>()[i]);
    TORCH_CHECK(word > 0, names[i], " is on no stage");
    holders.push_back({(ranks - word) % stages, (ranks - word) / stages});
  }
  return holders;
}

namespace {

// `whole` [sizes] of rank `from` of the line, on its first; undefined on the others.
at::Tensor ToFirst(at::Tensor whole, int from, Communicator& line, at::IntArrayRef sizes,
                   const at::TensorOptions& options) {
  if (from == 0) return line.rank() == 0 ? whole : at::Tensor();
  if (line.rank() == from) line.Send(whole.contiguous(), 0);
  if (line.rank() != 0) return {};
  whole = at::empty(sizes, options);
  line.Recv(whole, from);
  return whole;
}

}  // namespace

at::Tensor GatherOnFirstRank(const Parameter& declared, Holders holders, const ParameterSet& set,
                             ParameterStore& store) {
  const Mesh& mesh = store.mesh();
  const ParamSlice& slice = declared.slice;
  // Of the ranks that hold the same experts.
  const bool first_copy = IndexIn(mesh.shape(), mesh.position(), {Axis::kDp}) == 0;
  const bool on_stage = mesh.pp().rank() == holders.stage;
  at::Tensor whole;
  if (on_stage) {
    const ParameterStore::Lease lease = store.Acquire(declared.group);
    if (first_copy && mesh.ep().rank() == holders.ep) {
      const Parameter* held = set.Find(slice.name);
      whole = GatherWhole(held->slice, held->value, mesh.tp());
    }
  }
  if (!first_copy || mesh.tp().rank() != 0) return whole;
  const auto options = at::TensorOptions().dtype(declared.dtype).device(store.device());
  if (on_stage) {
    whole = ToFirst(std::move(whole), holders.ep, mesh.ep(), slice.global_shape, options);
  }
  if (mesh.ep().rank() != 0) return {};
  return ToFirst(std::move(whole), holders.stage, mesh.pp(), slice.global_shape, options);
}

}  // namespace fttrain
