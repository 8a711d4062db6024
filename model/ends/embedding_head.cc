#include "model/ends/embedding_head.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "model/kernels/dispatch.h"
#include "model/kernels/kernels.h"
#include "model/matmul/matmul.h"
#include "runtime/memory/ledger.h"

namespace fttrain {
namespace {

Range VocabularyRows(const ModelSpec& model, TensorRank tp) {
  return EvenRange(model.vocab_size, tp.size, tp.rank);
}

// A [V, H] table of which this rank holds its rows.
Parameter Table(const std::string& module, const ModelSpec& model, const ModelOptions& options,
                TensorRank tp) {
  Parameter table;
  table.slice = SliceAlong(module + ".weight", {model.vocab_size, model.hidden_size}, 0,
                           VocabularyRows(model, tp));
  table.trainable = options.train_base;
  table.dtype = options.compute;
  return table;
}

// Which of `ids` are rows of this rank, and where: clamped so that every lookup is in bounds.
struct LocalIds {
  at::Tensor local;  // int64 [T], in [0, extent)
  at::Tensor mine;   // bool [T]
};
LocalIds Localize(const at::Tensor& ids, const Range& rows) {
  const at::Tensor shifted = ids - rows.offset;
  const at::Tensor mine = shifted.ge(0).logical_and_(shifted.lt(rows.extent));
  return {shifted.clamp(0, rows.extent - 1), mine};
}

// Log-sum-exp and target logit of the whole vocabulary from every rank's [C, 3] statistics.
struct LogSumExp {
  at::Tensor lse, target;  // [C]
};
LogSumExp CombineStats(const at::Tensor& stats, Communicator& tp) {
  const int64_t rows = stats.size(0);
  at::Tensor all = stats;
  if (tp.size() > 1) {
    all = at::empty({tp.size() * rows, 3}, stats.options());
    tp.AllGather(stats, all);
  }
  all = all.view({tp.size(), rows, 3});
  const at::Tensor local_max = all.select(2, 0);
  const at::Tensor max = local_max.amax(0);
  const at::Tensor sum = (all.select(2, 1) * (local_max - max).exp()).sum(0);
  return {max + sum.log(), all.select(2, 2).sum(0)};
}

at::Tensor LocalStats(const at::Tensor& logits, const at::Tensor& targets, const Range& rows) {
  if (rows.extent > 0) return CrossEntropyStats(logits, targets, rows.offset);
  // A rank beyond the end of a tiny vocabulary adds nothing to any sum.
  at::Tensor stats = at::zeros({logits.size(0), 3}, logits.options().dtype(StatisticsType(logits)));
  stats.select(1, 0).fill_(-std::numeric_limits<double>::infinity());
  return stats;
}

}  // namespace

Parameter* DeclareEmbedding(const ModelSpec& model, const ModelOptions& options, TensorRank tp,
                            ParameterSet& set) {
  Parameter table = Table(model.embedding, model, options, tp);
  table.on_host = options.embedding_on_host;
  TORCH_CHECK(!table.on_host || !(table.trainable || model.head.tied), table.slice.name,
              ": an embedding in host memory must be frozen and no tied head may read it");
  return set.Declare(std::move(table));
}

void DeclareHead(const ModelSpec& model, const ModelOptions& options, TensorRank tp,
                 ParameterSet& set) {
  DeclareNorm(model.head.norm, NormGradient(options, tp), options, tp, set);
  if (model.head.tied) return;
  DeclareMatrix(Table(model.head.name, model, options, tp), options.Nf4Of(model.head.name), set);
}

Embedding::Embedding(const ModelSpec& model, const ModelOptions& options, Communicator& tp,
                     const ParameterSet& set)
    : region_(tp, options.sequence_parallel),
      rows_(VocabularyRows(model, RankIn(tp))),
      scale_(model.embedding_scale),
      weight_(set.Get(model.embedding + ".weight")) {
  if (model.rounds_embedding_scale) {
    scale_ = at::scalar_tensor(scale_, at::TensorOptions(options.compute)).item<double>();
  }
}

at::Tensor Embedding::Forward(const at::Tensor& input_ids,
                              c10::ArrayRef<int64_t> input_ids_host) const {
  const at::Tensor rows = Lookup(input_ids, input_ids_host);
  return scale_ == 1.0 ? rows : at::Tensor(rows).mul_(scale_);
}

at::Tensor Embedding::Lookup(const at::Tensor& input_ids,
                             c10::ArrayRef<int64_t> input_ids_host) const {
  const at::Tensor& table = weight_->value;
  const bool on_host = table.device() != input_ids.device();
  // Rows of a table in host memory are gathered there, in pinned memory, and copied while the host
  // goes on.
  const auto gather = [&](const at::Tensor& rows) {
    if (!on_host) return table.index_select(0, rows);
    at::Tensor gathered =
        at::empty({rows.size(0), table.size(1)}, table.options().pinned_memory(true));
    return at::index_select_out(gathered, table, 0, rows);
  };
  const at::Tensor ids = on_host ? at::tensor(input_ids_host, at::kLong) : input_ids;
  if (region_.tp().size() == 1) return gather(ids).to(input_ids.device(), /*non_blocking=*/true);
  at::Tensor partial;
  std::optional<MemoryScope> scope;
  // With sequence parallelism only the reduced rows are the caller's.
  if (region_.sequence_parallel()) scope.emplace(MemoryCategory::kWorkspace);
  if (rows_.extent == 0) {
    partial = at::zeros({ids.size(0), table.size(1)}, table.options().device(input_ids.device()));
  } else {
    const LocalIds local = Localize(ids, rows_);
    partial = gather(local.local);
    partial.masked_fill_(local.mine.logical_not().unsqueeze(1), 0);
    partial = partial.to(input_ids.device(), /*non_blocking=*/true);
  }
  scope.reset();
  return region_.Leave(std::move(partial));
}

void Embedding::Backward(const at::Tensor& dy, const at::Tensor& input_ids) const {
  if (!weight_->trainable) return;
  const MemoryScope scope(MemoryCategory::kWorkspace);
  const at::Tensor dfull = region_.Enter(dy);
  if (rows_.extent == 0) return;
  const LocalIds ids = Localize(input_ids, rows_);
  at::Tensor rows = dfull.to(weight_->grad.scalar_type());
  if (rows_.extent < weight_->slice.global_shape[0]) {
    rows = rows.masked_fill(ids.mine.logical_not().unsqueeze(1), 0);
  }
  weight_->grad.index_add_(0, ids.local, rows, scale_);
}

Head::Head(const ModelSpec& model, const ModelOptions& options, Communicator& tp,
           const ParameterSet& set)
    : region_(tp, options.sequence_parallel),
      norm_form_(model.head.norm.form),
      logit_scale_(model.head.logit_scale),
      soft_cap_(model.head.soft_cap),
      chunk_rows_(options.loss_chunk_rows),
      vocab_size_(model.vocab_size),
      rows_(VocabularyRows(model, RankIn(tp))),
      norm_(set.Get(model.head.norm.name + ".weight")),
      table_(set.Get(model.head.name + ".weight"), options.compute, options.Nf4Of(model.head.name),
             /*ahead=*/nullptr) {
  TORCH_CHECK(chunk_rows_ > 0, "loss_chunk_rows is ", chunk_rows_);
}

void Head::HoldWeights(bool hold) { table_.Hold(hold); }

at::Tensor Head::WeightGradient() const {
  return table_.parameter()->trainable ? table_.parameter()->grad : at::Tensor();
}

at::Tensor Head::Normed(const at::Tensor& x) const {
  return region_.Enter(NormForward(x, norm_->value, norm_form_));
}

void Head::MakeLogits(const at::Tensor& normed, const at::Tensor& logits) const {
  AddProducts(logits, {{normed, table_.operand().t(), logit_scale_}}, /*accumulate=*/false);
  if (soft_cap_ > 0) SoftCapInPlace(logits, soft_cap_);
}

template <typename Work>
void Head::ForChunks(const at::Tensor& normed, const at::Tensor& rows, const at::Tensor& targets,
                     const Work& work) const {
  // Dequantised once for all chunks, where that is what each product would do.
  const bool held = table_.DequantizedWhole();
  if (held) table_.Hold(true);
  const absl::Cleanup release = [&] {
    if (held) table_.Hold(false);
  };
  for (int64_t begin = 0; begin < rows.size(0); begin += chunk_rows_) {
    const int64_t count = std::min(chunk_rows_, rows.size(0) - begin);
    Chunk chunk{rows.narrow(0, begin, count), targets.narrow(0, begin, count), {}, {}};
    chunk.x = normed.index_select(0, chunk.rows);
    chunk.logits = at::empty({count, rows_.extent}, chunk.x.options());
    MakeLogits(chunk.x, chunk.logits);
    work(chunk, begin);
  }
}

Scores Head::Forward(const at::Tensor& x, const at::Tensor& target_rows, const at::Tensor& targets,
                     std::optional<double> coefficient, Saved* saved) const {
  const MemoryScope workspace(MemoryCategory::kWorkspace);
  const at::Tensor normed = Normed(x);
  const auto options = normed.options().dtype(StatisticsType(normed));
  Scores scores{at::empty(target_rows.sizes(), options), at::zeros({}, options.dtype(at::kDouble))};
  const bool one_pass = saved != nullptr && coefficient.has_value();
  at::Tensor dnormed, lse;
  if (one_pass) {
    const MemoryScope scope(region_.sequence_parallel() ? MemoryCategory::kWorkspace
                                                        : MemoryCategory::kSaved);
    dnormed = at::zeros_like(normed);
  } else if (saved != nullptr) {
    const MemoryScope scope(MemoryCategory::kSaved);
    lse = at::empty(target_rows.sizes(), options);
  }
  ForChunks(normed, target_rows, targets, [&](const Chunk& chunk, int64_t begin) {
    const LogSumExp sums =
        CombineStats(LocalStats(chunk.logits, chunk.targets, rows_), region_.tp());
    at::Tensor mine = scores.log_probability.narrow(0, begin, chunk.rows.size(0));
    at::sub_out(mine, sums.target, sums.lse);
    scores.sum += mine.sum(at::kDouble);
    if (lse.defined()) lse.narrow(0, begin, chunk.rows.size(0)).copy_(sums.lse);
    if (one_pass) Gradients(chunk, sums.lse, at::full_like(sums.lse, *coefficient), dnormed);
  });
  if (saved == nullptr) return scores;
  const MemoryScope scope(MemoryCategory::kSaved);
  saved->input = x;
  if (one_pass) {
    saved->dnormed = region_.Leave(std::move(dnormed));
  } else {
    saved->target_rows = target_rows;
    saved->targets = targets;
    saved->lse = lse;
  }
  return scores;
}

void Head::Gradients(const Chunk& chunk, const at::Tensor& lse, const at::Tensor& coefficients,
                     at::Tensor& dnormed) const {
  if (rows_.extent == 0) return;
  CrossEntropyBackwardInPlace(chunk.logits, lse, chunk.targets, rows_.offset, coefficients,
                              soft_cap_);
  // A row has one target, so rows are distinct and a copy suffices.
  const at::Tensor dx = at::empty_like(chunk.x);
  AddProducts(dx, {{chunk.logits, table_.operand(), logit_scale_}}, /*accumulate=*/false);
  dnormed.index_copy_(0, chunk.rows, dx);
  if (const at::Tensor grad = WeightGradient(); grad.defined()) {
    AddProducts(grad, {{chunk.logits.t(), chunk.x, logit_scale_}}, /*accumulate=*/true);
  }
}

at::Tensor Head::Backward(const at::Tensor& coefficients, Saved& saved) const {
  const MemoryScope scope(MemoryCategory::kWorkspace);
  TORCH_CHECK(coefficients.defined() != saved.dnormed.defined(),
              "coefficients of a microbatch are known either before its forward or after");
  if (coefficients.defined()) {
    const at::Tensor normed = Normed(saved.input);
    at::Tensor dnormed = at::zeros_like(normed);
    ForChunks(normed, saved.target_rows, saved.targets, [&](const Chunk& chunk, int64_t begin) {
      const int64_t count = chunk.rows.size(0);
      Gradients(chunk, saved.lse.narrow(0, begin, count), coefficients.narrow(0, begin, count),
                dnormed);
    });
    saved.dnormed = region_.Leave(std::move(dnormed));
  }
  at::Tensor dx =
      NormBackward(saved.dnormed, saved.input, norm_->value, norm_form_, {}, norm_->grad);
  saved = {};
  return dx;
}

at::Tensor Head::Logits(const at::Tensor& x, const at::Tensor& rows) const {
  const MemoryScope workspace(MemoryCategory::kWorkspace);
  const at::Tensor normed = Normed(x);
  const at::Tensor local = at::empty({rows.size(0), rows_.extent}, normed.options());
  MakeLogits(normed.index_select(0, rows), local);
  const at::ScalarType dtype = StatisticsType(local);
  Communicator& tp = region_.tp();
  if (tp.size() == 1) return local.to(dtype);
  // Gathered as rows of the vocabulary; only the end of the last shards is padding.
  const int64_t shard = EvenRange(vocab_size_, tp.size(), 0).extent, count = rows.size(0);
  at::Tensor padded = at::zeros({shard, count}, local.options().dtype(dtype));
  padded.narrow(0, 0, rows_.extent).copy_(local.t());
  at::Tensor all = at::empty({tp.size() * shard, count}, padded.options());
  tp.AllGather(padded, all);
  return all.narrow(0, 0, vocab_size_).t().contiguous();
}

}  // namespace fttrain
