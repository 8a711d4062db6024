// A step's gradients as every rank would have them without sharding: for those who look at them.
#pragma once

#include <ATen/core/Tensor.h>

#include <unordered_map>
#include <vector>

#include "parallel/storage/parameter_store.h"

namespace fttrain {

// Between Optimizer::SyncGradients and Step of one step. Under ZeRO 1 to 3 a buffer's shards are
// gathered over dp when a parameter of it is first read: into the buffer itself under ZeRO 1, else
// into memory for one buffer. `store` must outlive it.
class GradientReader {
 public:
  explicit GradientReader(const ParameterStore& store);

  // The summed gradient of this rank's slice of a trainable parameter, [LocalShape()], on the
  // device; a view, until another parameter is read. Collective over dp: the same parameters in the
  // same order.
  at::Tensor Read(const Parameter& parameter);

 private:
  struct Place {
    size_t buffer;
    int64_t offset;
  };
  at::Tensor Whole(size_t buffer);

  const ParameterStore* store_;
  std::unordered_map<const Parameter*, Place> places_;
  std::vector<at::Tensor> whole_;  // by buffer, where gathered
};

}  // namespace fttrain
