#include "model/ends/vocabulary.h"

#include <ATen/ATen.h>

#include <limits>

#include "model/kernels/kernels.h"

namespace fttrain {

Parameter VocabularyTable(const std::string& name, const ModelConfig& config, const Range& rows,
                          const ModelOptions& options) {
  Parameter table;
  const std::vector<int64_t> shape = {config.vocab_size, config.hidden_size};
  table.slice = rows.extent == config.vocab_size
                    ? WholeParam(name, shape)
                    : SlicedParam(name, shape, 0, rows.offset, rows.extent);
  table.trainable = options.train_base;
  table.dtype = options.compute;
  return table;
}

at::Tensor VocabularyStats(const at::Tensor& logits, const at::Tensor& targets, const Range& rows) {
  if (rows.extent > 0) return CrossEntropyStats(logits, targets, rows.offset);
  const at::ScalarType dtype = logits.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  at::Tensor stats = at::zeros({logits.size(0), 3}, logits.options().dtype(dtype));
  stats.select(1, 0).fill_(-std::numeric_limits<double>::infinity());
  return stats;
}

LogSumExp CombineStats(const at::Tensor& stats, Communicator& tp) {
  const int64_t slices = stats.size(0), rows = stats.size(1);
  at::Tensor all = stats;
  if (tp.size() > 1) {
    all = at::empty({tp.size() * slices, rows, 3}, stats.options());
    tp.AllGather(stats, all);
  }
  const at::Tensor local_max = all.select(2, 0);
  const at::Tensor max = local_max.amax(0);
  const at::Tensor sum = (all.select(2, 1) * (local_max - max).exp()).sum(0);
  return {max + sum.log(), all.select(2, 2).sum(0)};
}

}  // namespace fttrain
