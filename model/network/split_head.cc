#include "model/network/split_head.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <utility>

#include "model/kernels/kernels.h"
#include "model/matmul/matmul.h"

namespace fttrain {
namespace {

constexpr int64_t kNoRow = -1;  // a target that no slice holds

at::ScalarType StatsType(at::ScalarType compute) {
  return compute == at::kDouble ? at::kDouble : at::kFloat;
}

int64_t Aligned(int64_t bytes) { return (bytes + 63) / 64 * 64; }

int64_t Bytes(int64_t elements, at::ScalarType dtype) {
  return elements * static_cast<int64_t>(c10::elementSize(dtype));
}

// Which targets of [begin, begin + count) are rows of a slice: where they are, from begin on, and
// which rows.
struct OwnTargets {
  std::vector<int64_t> positions, rows;
  int64_t size() const { return static_cast<int64_t>(rows.size()); }
};
OwnTargets OwnOf(const ModelBatch& batch, int64_t begin, int64_t count, const Range& slice) {
  OwnTargets own;
  const int64_t* targets = batch.host_targets.const_data_ptr<int64_t>() + begin;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t row = targets[i] - slice.offset;
    if (row < 0 || row >= slice.extent) continue;
    own.positions.push_back(i);
    own.rows.push_back(row);
  }
  return own;
}
OwnTargets OwnOf(const ModelBatch& batch, const Range& slice) {
  return OwnOf(batch, 0, batch.host_targets.size(0), slice);
}

// A stage's part of M rows, `own` of which have their target in its slice, in one message.
struct PartView {
  PartView(const at::Tensor& message, int64_t rows, int64_t own, int64_t hidden,
           at::ScalarType compute) {
    int64_t offset = 0;
    const auto next = [&](int64_t count, int64_t width, at::ScalarType dtype) {
      const int64_t bytes = Bytes(count * width, dtype);
      const at::Tensor view = message.narrow(0, offset, bytes).view(dtype).view({count, width});
      offset += Aligned(bytes);
      return view;
    };
    gradient = next(rows, hidden, compute);
    target_rows = next(own, hidden, compute);
    stats = next(rows, 3, StatsType(compute));
  }
  static int64_t BytesOf(int64_t rows, int64_t own, int64_t hidden, at::ScalarType compute) {
    return Aligned(Bytes(rows * hidden, compute)) + Aligned(Bytes(own * hidden, compute)) +
           Bytes(rows * 3, StatsType(compute));
  }
  at::Tensor gradient;     // u_s [M, H]
  at::Tensor target_rows;  // W[target] [own, H]
  at::Tensor stats;        // VocabularyStats [M, 3]
};

}  // namespace

SplitHead::SplitHead(const ModelConfig& config, const ModelOptions& options, const Mesh& mesh,
                     Parameter* table, ParameterSet& set)
    : region_(mesh.tp(), options.sequence_parallel),
      eps_(config.rms_norm_eps),
      chunk_rows_(options.loss_chunk_rows),
      vocab_size_(config.vocab_size),
      hidden_size_(config.hidden_size),
      compute_(options.compute),
      stage_(mesh.pp().rank()),
      num_stages_(mesh.pp().size()),
      slice_(SliceOf(stage_)),
      table_(table),
      incoming_(static_cast<size_t>(num_stages_)) {
  TORCH_CHECK(!options.train_base, "a head that is trained cannot be split over stages");
  TORCH_CHECK(num_stages_ > 1, "a head split over ", num_stages_, " stage");
  if (stage_ == num_stages_ - 1) {
    norm_ = DeclareNorm("model.norm.weight", hidden_size_, NormGradient(region_), options, set);
  }
  if (table != nullptr) return;
  const bool tied = config.tie_word_embeddings;
  const char* name = tied ? "model.embed_tokens.weight" : "lm_head.weight";
  own_ = std::make_unique<WeightMatrix>(VocabularyTable(name, config, slice_, options),
                                        tied ? std::nullopt : Nf4OfModule(options, "lm_head"),
                                        /*ahead=*/nullptr, set);
}

Range SplitHead::SliceOf(int stage) const {
  const Range outer = EvenRange(vocab_size_, region_.tp().size(), region_.tp().rank());
  const Range inner = EvenRange(outer.extent, num_stages_, stage);
  return {outer.offset + inner.offset, inner.extent};
}

void SplitHead::HoldWeights() {
  if (own_) own_->Hold();
}

void SplitHead::ReleaseWeights() {
  if (own_) own_->Release();
}

Operand SplitHead::Weight() const {
  if (own_) return own_->operand();
  return table_->value.narrow(0, slice_.offset - table_->slice.offset, slice_.extent);
}

int64_t SplitHead::MessageBytes(const ModelBatch& batch, int stage) const {
  return PartView::BytesOf(batch.targets.size(0), OwnOf(batch, SliceOf(stage)).size(), hidden_size_,
                           compute_);
}

void SplitHead::BeginStep(const std::vector<ModelBatch>& batches) {
  TORCH_CHECK(links_ != nullptr && links_->stage() == stage_ && links_->num_stages() == num_stages_,
              "a split head without links between its stages");
  links_->FinishSends();  // of the step before: long done
  const int last = num_stages_ - 1;
  for (int peer = 0; peer < num_stages_; ++peer) {
    Incoming& in = incoming_[static_cast<size_t>(peer)] = {};
    if (peer == stage_ || (stage_ != last && peer != last)) continue;
    for (const ModelBatch& batch : batches) {
      const int64_t rows = batch.targets.size(0);
      if (rows == 0) continue;  // there is nothing to send
      const at::TensorOptions on = batch.targets.options();
      in.specs.push_back(
          stage_ == last
              ? MessageSpec{{MessageBytes(batch, peer)},
                            on.dtype(at::kByte),
                            MemoryCategory::kWorkspace}
              : MessageSpec{{rows, hidden_size_}, on.dtype(compute_), MemoryCategory::kWorkspace});
    }
    PostAhead(peer);
  }
}

void SplitHead::PostAhead(int peer) {
  Incoming& in = incoming_[static_cast<size_t>(peer)];
  const size_t places = static_cast<size_t>(links_->places());
  while (in.posted < in.specs.size() && in.posted < in.taken + places) {
    links_->Post(peer, in.specs[in.posted++]);
  }
}

at::Tensor SplitHead::Take(int peer) {
  at::Tensor message = links_->Take(peer);
  ++incoming_[static_cast<size_t>(peer)].taken;
  PostAhead(peer);
  return message;
}

void SplitHead::Forward(const at::Tensor& x, const ModelBatch& batch, Saved& saved) const {
  saved.input = x;
  const MemoryScope workspace(MemoryCategory::kWorkspace);
  const at::Tensor normed = region_.Enter(RmsNormForward(x, norm_->value, eps_));
  if (batch.targets.size(0) == 0) return;
  const MemoryScope scope(MemoryCategory::kSaved);
  saved.rows = normed.index_select(0, batch.target_rows);
  for (int stage = 0; stage < num_stages_ - 1; ++stage) links_->Send(stage, saved.rows);
}

void SplitHead::Part(const ModelBatch& batch, double scale, Saved& saved, double& loss) {
  const int last = num_stages_ - 1;
  const bool some = batch.targets.size(0) > 0;
  if (stage_ < last) {
    if (some) links_->Send(last, Compute(Take(last), batch));
    return;
  }
  const MemoryScope workspace(MemoryCategory::kWorkspace);
  const int64_t tp = region_.sequence_parallel() ? region_.tp().size() : 1;
  at::Tensor dnormed;
  {
    const MemoryScope scope(tp > 1 ? MemoryCategory::kWorkspace : MemoryCategory::kSaved);
    dnormed = at::zeros({saved.input.size(0) * tp, hidden_size_}, saved.input.options());
  }
  if (some) {
    std::vector<at::Tensor> parts;
    const at::Tensor mine = Compute(std::exchange(saved.rows, {}), batch);
    for (int stage = 0; stage < last; ++stage) parts.push_back(Take(stage));
    parts.push_back(mine);
    // A row has one target, so rows are distinct and a copy suffices.
    dnormed.index_copy_(0, batch.target_rows, Combine(batch, parts, loss).mul_(scale).to(compute_));
  }
  const MemoryScope scope(MemoryCategory::kSaved);
  saved.dnormed = region_.Leave(std::move(dnormed));
}

at::Tensor SplitHead::Compute(const at::Tensor& rows, const ModelBatch& batch) const {
  const MemoryScope workspace(MemoryCategory::kWorkspace);
  const int64_t total = rows.size(0);
  const OwnTargets own = OwnOf(batch, slice_);
  const at::Tensor message =
      at::empty({MessageBytes(batch, stage_)}, rows.options().dtype(at::kByte));
  const PartView part(message, total, own.size(), hidden_size_, compute_);
  const HeldForProducts held(own_.get());
  const at::Tensor none = at::full({chunk_rows_}, kNoRow, batch.targets.options());
  for (int64_t begin = 0; begin < total; begin += chunk_rows_) {
    const int64_t count = std::min(chunk_rows_, total - begin);
    const at::Tensor gradient = part.gradient.narrow(0, begin, count);
    const at::Tensor logits = at::empty({count, slice_.extent}, rows.options());
    AddProducts(logits, {{rows.narrow(0, begin, count), Weight().t()}}, /*accumulate=*/false);
    const at::Tensor stats = VocabularyStats(logits, batch.targets.narrow(0, begin, count), slice_);
    part.stats.narrow(0, begin, count).copy_(stats);
    if (slice_.extent == 0) {
      gradient.zero_();
      continue;
    }
    const at::Tensor lse = stats.select(1, 0) + stats.select(1, 1).log();
    CrossEntropyBackwardInPlace(logits, lse, none.narrow(0, 0, count), slice_.offset,
                                /*scale=*/1.0);
    const OwnTargets here = OwnOf(batch, begin, count, slice_);
    if (here.size() > 0) {
      const auto index = [&](const std::vector<int64_t>& ids) {
        return at::tensor(ids, at::kLong).to(rows.device());
      };
      at::Tensor(logits).index_put_({index(here.positions), index(here.rows)},
                                    at::zeros({}, logits.options()));
    }
    AddProducts(gradient, {{logits, Weight()}}, /*accumulate=*/false);
  }
  const at::Tensor ids = at::tensor(own.rows, at::kLong);
  if (own.size() == 0) return message;
  part.target_rows.copy_(own_ ? own_->Rows(ids)
                              : Weight().Dense().index_select(0, ids.to(rows.device())));
  return message;
}

at::Tensor SplitHead::Combine(const ModelBatch& batch, const std::vector<at::Tensor>& messages,
                              double& loss) const {
  const int64_t rows = batch.targets.size(0);
  std::vector<PartView> parts;
  std::vector<at::Tensor> stats;
  std::vector<OwnTargets> owns;
  for (int stage = 0; stage < num_stages_; ++stage) {
    owns.push_back(OwnOf(batch, SliceOf(stage)));
    parts.emplace_back(messages[static_cast<size_t>(stage)], rows, owns.back().size(), hidden_size_,
                       compute_);
    stats.push_back(parts.back().stats);
  }
  const LogSumExp sums = CombineStats(at::stack(stats), region_.tp());
  loss += (sums.lse - sums.target).sum(at::kDouble).item<double>();
  const at::Tensor missing = (sums.target - sums.lse).expm1();
  at::Tensor gradient = at::zeros({rows, hidden_size_}, stats.front().options());
  for (size_t s = 0; s < parts.size(); ++s) {
    const at::Tensor lse = stats[s].select(1, 0) + stats[s].select(1, 1).log();
    gradient.addcmul_(parts[s].gradient.to(gradient.scalar_type()),
                      (lse - sums.lse).exp().unsqueeze(1));
    if (owns[s].size() == 0) continue;
    const at::Tensor positions =
        at::tensor(owns[s].positions, at::kLong).to(batch.targets.device());
    gradient.index_add_(0, positions,
                        parts[s].target_rows.to(gradient.scalar_type()) *
                            missing.index_select(0, positions).unsqueeze(1));
  }
  return gradient;
}

at::Tensor SplitHead::Backward(Saved& saved) const {
  const MemoryScope scope(MemoryCategory::kWorkspace);
  at::Tensor dx = RmsNormBackward(saved.dnormed, saved.input, norm_->value, eps_, {}, norm_->grad);
  saved = {};
  return dx;
}

}  // namespace fttrain
