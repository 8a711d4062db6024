#include "parallel/layout/tensor_parallel.h"

#include <ATen/ATen.h>

#include <utility>

namespace fttrain {
namespace {

// Rows of one rank's share of [rows, ...].
int64_t RowsPerRank(const at::Tensor& full, int size) {
  TORCH_CHECK(full.dim() > 0 && full.size(0) % size == 0, "sequence parallelism: ", size,
              " tp ranks do not divide the activation's shape ", full.sizes(), " in dimension 0");
  return full.size(0) / size;
}

}  // namespace

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
  shape.at(0) = RowsPerRank(source, tp_->size());
  at::Tensor local = at::empty(shape, source.options());
  tp_->ReduceScatter(source, local);
  return local;
}

at::Tensor SequenceRegion::LocalRows(const at::Tensor& full) const {
  if (!sequence_parallel_) return full;
  const int64_t rows = RowsPerRank(full, tp_->size());
  return full.narrow(0, tp_->rank() * rows, rows);
}

}  // namespace fttrain
