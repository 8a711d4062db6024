#include "parallel/storage/param_gather.h"

#include <ATen/ATen.h>

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

std::vector<int> StagesOf(const std::vector<std::string>& names, const ParameterSet& set,
                          const Mesh& mesh, c10::Device device) {
  Communicator& pp = mesh.pp();
  if (names.empty()) return {};
  // The largest of what the stages say is the first stage's word.
  std::vector<int64_t> ranked;
  for (const std::string& name : names) {
    ranked.push_back(set.Find(name) != nullptr ? pp.size() - pp.rank() : 0);
  }
  at::Tensor held = at::tensor(ranked, at::kLong);
  if (pp.size() > 1) {
    held = held.to(device);
    pp.AllReduce(held, ReduceOp::kMax);
    held = held.cpu();
  }
  std::vector<int> stages;
  for (size_t i = 0; i < names.size(); ++i) {
    const int64_t word = held.data_ptr<int64_t>()[i];
    TORCH_CHECK(word > 0, names[i], " is on no stage");
    stages.push_back(pp.size() - static_cast<int>(word));
  }
  return stages;
}

at::Tensor GatherOnFirstStage(const Parameter& declared, int stage, const ParameterSet& set,
                              ParameterStore& store) {
  const Mesh& mesh = store.mesh();
  Communicator& pp = mesh.pp();
  const ParamSlice& slice = declared.slice;
  const bool first_replica = IndexIn(mesh.shape(), mesh.position(), kDataAxes) == 0;
  at::Tensor whole;
  if (pp.rank() == stage) {
    const Parameter* held = set.Find(slice.name);
    const ParameterStore::Lease lease = store.Acquire(held->group);
    if (first_replica) whole = GatherWhole(held->slice, held->value, mesh.tp());
  }
  if (!first_replica) return {};
  if (stage == 0 || mesh.tp().rank() != 0) return whole;
  if (pp.rank() == stage) pp.Send(whole.contiguous(), 0);
  if (pp.rank() == 0) {
    const auto options = at::TensorOptions().dtype(declared.dtype).device(store.device());
    whole = at::empty(slice.global_shape, options);
    pp.Recv(whole, stage);
  }
  return whole;
}

}  // namespace fttrain
