// The whole of a sliced parameter, for files.
#pragma once

#include "parallel/param.h"
#include "runtime/communicator.h"

namespace fttrain {

// [global_shape] on every tp rank, on the parameter's device, put together from the slices that the
// tp ranks hold of `local` (this rank's values, [slice.LocalShape()]; uneven and shared slices
// allowed). A whole parameter is returned as it is. Collective over tp.
at::Tensor GatherWhole(const ParamSlice& slice, const at::Tensor& local, Communicator& tp);

}  // namespace fttrain
