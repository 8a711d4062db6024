// What the observers of verification share: a run, and whole tensors of it beside recorded ones.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>

#include "launch/verify/holders.h"
#include "parallel/layout/mesh.h"
#include "parallel/optimizer/optimizer.h"

namespace fttrain {

// A run that is recorded, or follows a recorded one. All must outlive the observers.
struct VerifiedRun {
  const ParameterSet& declared;  // of the whole model; the same names and shapes in all runs
  const Mesh& mesh;
  ParameterStore& store;
  Optimizer& optimizer;
  const Holders& holders;
  MomentStorage moments = MomentStorage::kGradientDtype;

  const Parameter& Declared(int64_t index) const {
    return *declared.all()[static_cast<size_t>(index)];
  }
};

enum class Recorded { kValues, kGradients };

// Of a run that has all its trainable values and gradients on its ranks (ZeRO 0). For each
// trainable parameter: `recorded`(index), on rank 0, is another run's whole tensor, [global_shape],
// in host memory; `see`(index, recorded, whole) sees the whole of this run's beside it; then this
// run's becomes the recorded one. Values of the two may be of different dtypes. Collective over the
// run's ranks.
template <typename Other, typename See>
void TakeRecorded(const VerifiedRun& run, Recorded what, const Other& recorded, const See& see) {
  const bool values = what == Recorded::kValues;
  for (int64_t i = 0; i < static_cast<int64_t>(run.declared.all().size()); ++i) {
    const Parameter& declared = run.Declared(i);
    if (!declared.trainable) continue;
    const Parameter* held = run.holders.Mine(i);
    at::Tensor local, whole, taken;
    if (held != nullptr) local = values ? held->value : held->grad;
    if (run.holders.on_first_rank()) {
      const at::Tensor other = recorded(i);
      whole = at::empty(other.sizes(), values ? declared.dtype : other.scalar_type());
      run.holders.Collect(i, local, whole);
      see(i, other, whole);
      taken = other.to(whole.scalar_type());
    } else {
      run.holders.Collect(i, local, whole);
    }
    run.holders.Distribute(i, taken, local);
  }
}

}  // namespace fttrain
