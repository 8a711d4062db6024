// The whole of parameters that ranks hold in part, for files.
#pragma once

#include <string>
#include <vector>

#include "parallel/layout/mesh.h"
#include "parallel/layout/param.h"
#include "parallel/storage/parameter_store.h"
#include "runtime/comm/communicator.h"

namespace fttrain {

// [global_shape] on every tp rank, on the parameter's device, put together from the slices that the
// tp ranks hold of `local` (this rank's values, [slice.LocalShape()]; uneven and shared slices
// allowed). A whole parameter is returned as it is. Collective over tp.
at::Tensor GatherWhole(const ParamSlice& slice, const at::Tensor& local, Communicator& tp);

// Ranks that hold a parameter, those of a stage and, of an expert's, of a coordinate along ep.
struct Holders {
  int stage = 0, ep = 0;
};

// The first holders of each of the names, with this rank's `set`. Throws c10::Error if nobody has
// it. Collective over pp and ep, with tensors on `device`; the same names in the same order.
std::vector<Holders> HoldersOf(const std::vector<std::string>& names, const ParameterSet& set,
                               const Mesh& mesh, c10::Device device);

// The whole of a trained parameter, which its `holders` have, on the first rank; undefined or whole
// on the others. `declared`: its name, global shape, group and dtype, known on every rank; `store`:
// of `set`. Collective over the stage's ranks, along ep there, and between it and the first stage,
// in one order on all.
at::Tensor GatherOnFirstRank(const Parameter& declared, Holders holders, const ParameterSet& set,
                             ParameterStore& store);

}  // namespace fttrain
