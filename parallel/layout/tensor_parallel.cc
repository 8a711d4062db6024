#include "parallel/layout/tensor_parallel.h"

#include <ATen/ATen.h>

#include <utility>

namespace fttrain {

at::Tensor SequenceRegion::Enter(const at::Tensor& local) const {
  if (!sequence_parallel_) return local;
  std::vector<int64_t> shape = local.sizes().vec();
  shape.at(0) *= tp_->size();
  at::Tensor full = at::empty(shape, local.options());
  tp_->AllGather(local.contiguous(), full);
  return full;
}

at::Tensor SequenceRegion::Leave(at::Tensor partial) const {
  if (tp_->size() == 1) return partial;
  at::Tensor source = partial.contiguous();
  if (!sequence_parallel_) {
    tp_->AllReduce(source);
    return source;
  }
  std::vector<int64_t> shape = source.sizes().vec();
  TORCH_CHECK(!shape.empty() && shape[0] % tp_->size() == 0, "sequence parallelism: ", tp_->size(),
              " tp ranks do not divide the activation's shape ", source.sizes(), " in dimension 0");
  shape[0] /= tp_->size();
  at::Tensor local = at::empty(shape, source.options());
  tp_->ReduceScatter(source, local);
  return local;
}

}  // namespace fttrain
