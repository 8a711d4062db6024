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

// The first pipeline stage that holds each of the names, with this rank's `set` of its stage.
// Throws c10::Error if none does. Collective over pp, with tensors on `device`; the same names in
// the same order.
std::vector<int> StagesOf(const std::vector<std::string>& names, const ParameterSet& set,
                          const Mesh& mesh, c10::Device device);

// The whole of a trained parameter that `stage` holds, on the first rank; undefined or whole on the
// others. `declared`: its name, global shape and dtype, known on every stage; `store`: of `set`.
// Collective over the stage's ranks and between it and the first stage, in one order on all.
at::Tensor GatherOnFirstStage(const Parameter& declared, int stage, const ParameterSet& set,
                              ParameterStore& store);

}  // namespace fttrain
