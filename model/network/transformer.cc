#include "model/network/transformer.h"

#include <c10/core/GradMode.h>

#include <algorithm>
#include <utility>

namespace fttrain {

Transformer::Transformer(const ModelSpec& model, const ModelOptions& options, const Mesh& mesh,
                         ParameterSet& set, int64_t max_positions, c10::Device device)
    : train_base_(options.train_base),
      tied_(model.head.tied),
      compute_(options.compute),
      hidden_size_(model.hidden_size),
      region_(mesh.tp(), options.sequence_parallel),
      rope_(MakeRopeTables(model.rope, max_positions, options.compute, device)),
      ahead_(options.nf4 && options.weights_stay && device.is_cuda()
                 ? std::make_unique<Nf4Ahead>(device, options.compute)
                 : nullptr),
      store_(options.activations_on_host ? std::make_unique<ActivationStore>(device) : nullptr) {
  const int stages = mesh.pp().size();
  const std::vector<int> layers =
      options.layers_per_run.empty() ? BalancedRuns(model, stages) : options.layers_per_run;
  const absl::Status fits = CheckRuns(layers, model, static_cast<int>(layers.size()));
  TORCH_CHECK(fits.ok(), fits.ToString());
  const std::vector<LayerRun> runs = RunsOfStage(layers, stages, mesh.pp().rank());
  Communicator& tp = mesh.tp();
  DeclareRuns(model, options, runs, stages, {tp.rank(), tp.size()}, set);
  for (const LayerRun& run : runs) {
    Chunk& chunk = chunks_.emplace_back();
    chunk.run = run;
    for (int index = run.begin; index < run.end; ++index) {
      const LayerSpec& layer = model.layers.at(static_cast<size_t>(index));
      chunk.layers.push_back(std::make_unique<DecoderLayer>(layer, options, tp, set, ahead_.get()));
    }
  }
  if (runs.front().first) embedding_ = std::make_unique<Embedding>(model, options, tp, set);
  if (runs.back().last) head_ = std::make_unique<LmHeadLoss>(model, options, tp, set);
}

void Transformer::BeginStep(std::vector<ModelBatch> batches, double loss_scale) {
  batches_ = std::move(batches);
  activations_.clear();
  activations_.resize(batches_.size());
  next_backward_.reset();
  if (store_) store_->Clear();
  loss_scale_ = loss_scale;
  loss_sum_ = 0.0;
}

at::Tensor Transformer::Forward(int chunk, int microbatch, at::Tensor input) {
  const c10::NoGradGuard no_grad;
  const Chunk& run = chunks_.at(chunk);
  const ModelBatch& batch = batches_.at(microbatch);
  Activations& kept = activations_.at(microbatch);
  kept.chunks.resize(chunks_.size());
  std::vector<DecoderLayerSaved>& saved = kept.chunks[chunk];
  saved.resize(run.layers.size());
  at::Tensor x = std::move(input);
  // Other schedules go on at the first layer: the last one's window would lie there meanwhile.
  const bool turns = next_backward_ == std::pair(chunk, microbatch);
  if (run.run.first) {
    With({kEmbeddingGroup}, {run.run.begin}, Gradients::kNone,
         [&] { x = Embed(batch, MemoryCategory::kSaved); });
  }
  for (size_t i = 0; i < run.layers.size(); ++i) {
    const int layer = run.run.begin + static_cast<int>(i);
    With({layer}, layer + 1 < run.run.end ? std::vector<int>{layer + 1} : HeadGroups(run),
         Gradients::kNone, [&] {
           if (layer + 1 == run.run.end) PrefetchNext();
           x = run.layers[i]->Forward(x, batch.context, rope_, &saved[i]);
         });
    PutAway(run, i, microbatch, saved[i]);
  }
  if (!run.run.last) return x;
  const std::vector<int> back = turns ? std::vector<int>{run.run.end - 1} : std::vector<int>();
  With(HeadGroups(run), back, Gradients::kAdded, [&] {
    loss_sum_ += head_->Forward(x, batch.target_rows, batch.targets, loss_scale_, &kept.head);
  });
  return {};
}

at::Tensor Transformer::Backward(int chunk, int microbatch, at::Tensor doutput) {
  const c10::NoGradGuard no_grad;
  const Chunk& run = chunks_.at(chunk);
  const ModelBatch& batch = batches_.at(microbatch);
  Activations& kept = activations_.at(microbatch);
  std::vector<DecoderLayerSaved>& saved = kept.chunks.at(chunk);
  at::Tensor dx = std::move(doutput);
  if (run.run.last) {
    With(HeadGroups(run), {run.run.end - 1}, Gradients::kAdded,
         [&] { dx = head_->Backward(kept.head); });
  }
  const bool to_embedding = run.run.first && train_base_;
  for (size_t i = run.layers.size(); i-- > 0;) {
    const int layer = run.run.begin + static_cast<int>(i);
    std::vector<int> next;
    if (i > 0) next = {layer - 1};
    if (i == 0 && to_embedding) next = {kEmbeddingGroup};
    BringBack(run, i, microbatch, saved[i]);
    With({layer}, next, Gradients::kAdded, [&] {
      // A frozen embedding is the bottom: nothing needs the first layer's input gradient.
      dx = run.layers[i]->Backward(std::move(dx), batch.context, rope_, saved[i],
                                   i > 0 || !run.run.first || train_base_);
    });
  }
  saved.clear();
  if (!run.run.first) return dx;
  if (to_embedding) {
    With({kEmbeddingGroup}, {}, Gradients::kAdded,
         [&] { embedding_->Backward(dx, batch.input_ids); });
  }
  return {};
}

void Transformer::PutAway(const Chunk& chunk, size_t layer, int microbatch,
                          DecoderLayerSaved& saved) {
  if (store_) store_->Put({chunk.run.begin + static_cast<int>(layer), microbatch}, saved.Kept());
}

void Transformer::BringBack(const Chunk& chunk, size_t layer, int microbatch,
                            DecoderLayerSaved& saved) {
  if (!store_) return;
  const int index = chunk.run.begin + static_cast<int>(layer);
  store_->Take({index, microbatch}, saved.Kept());
  if (layer > 0) {
    store_->Prefetch({index - 1, microbatch});
  } else {
    PrefetchNext();
  }
}

void Transformer::BackwardFollows(int chunk, int microbatch) {
  next_backward_ = {chunk, microbatch};
}

void Transformer::PrefetchNext() {
  if (!store_ || !next_backward_) return;
  const auto [chunk, microbatch] = *next_backward_;
  store_->Prefetch({chunks_.at(chunk).run.end - 1, microbatch});
  next_backward_.reset();
}

std::vector<int> Transformer::HeadGroups(const Chunk& chunk) const {
  if (!chunk.run.last) return {};
  return tied_ ? std::vector<int>{kEmbeddingGroup, kHeadGroup} : std::vector<int>{kHeadGroup};
}

std::vector<int> Transformer::GroupsOf(const Chunk& chunk) const {
  std::vector<int> groups = HeadGroups(chunk);
  const bool tied_head = std::find(groups.begin(), groups.end(), kEmbeddingGroup) != groups.end();
  if (chunk.run.first && !tied_head) groups.push_back(kEmbeddingGroup);
  for (int layer = chunk.run.begin; layer < chunk.run.end; ++layer) groups.push_back(layer);
  return groups;
}

ParameterStore& Transformer::Parameters() const {
  TORCH_CHECK(parameters_ != nullptr, "a transformer without the store of its parameters");
  return *parameters_;
}

template <typename Use>
void Transformer::With(const std::vector<int>& groups, const std::vector<int>& next,
                       Gradients gradients, const Use& use) const {
  ParameterStore& store = Parameters();
  std::vector<ParameterStore::Lease> leases;
  for (const int group : groups) leases.push_back(store.Acquire(group));
  if (gradients == Gradients::kAdded) {
    for (const int group : groups) store.BeginGradients(group);
  }
  for (const int group : next) store.Prefetch(group);
  use();
  if (gradients == Gradients::kNone) return;
  for (const int group : groups) store.EndGradients(group);
}

// More layers at once would be the dense model, which NF4 is there to avoid.
bool Transformer::HoldsWeights(const Chunk& chunk) const {
  return chunk.layers.size() == 1 && batches_.size() > 1;
}

void Transformer::AcquireChunk(int chunk, int next) {
  const Chunk& run = chunks_.at(chunk);
  if (run.layers.size() == 1) {
    ParameterStore& store = Parameters();
    for (const int group : GroupsOf(run)) chunk_leases_.push_back(store.Acquire(group));
    if (next >= 0 && chunks_.at(next).layers.size() == 1) {
      for (const int group : GroupsOf(chunks_.at(next))) store.Prefetch(group);
    }
  }
  if (!HoldsWeights(run)) return;
  run.layers.front()->HoldWeights();
  if (run.run.last) head_->HoldWeights();
}

void Transformer::ReleaseChunk(int chunk) {
  const Chunk& run = chunks_.at(chunk);
  if (HoldsWeights(run)) {
    run.layers.front()->ReleaseWeights();
    if (run.run.last) head_->ReleaseWeights();
  }
  if (run.layers.size() != 1) return;
  for (const int group : GroupsOf(run)) Parameters().EndGradients(group);
  chunk_leases_.clear();
}

MessageSpec Transformer::Boundary(int microbatch) const {
  const at::Tensor& ids = batches_.at(microbatch).input_ids;
  const int64_t ranks = region_.sequence_parallel() ? region_.tp().size() : 1;
  return {.sizes = {ids.size(0) / ranks, hidden_size_}, .options = ids.options().dtype(compute_)};
}

at::Tensor Transformer::Embed(const ModelBatch& batch, MemoryCategory category) const {
  const MemoryScope scope(category);
  return embedding_->Forward(batch.input_ids);
}

at::Tensor Transformer::Hidden(const ModelBatch& batch) const {
  TORCH_CHECK(chunks_.front().run.first && chunks_.back().run.last,
              "evaluation of a part of the model");
  MicrobatchContext context = batch.context;
  context.dropout = {};
  at::Tensor x;
  With({kEmbeddingGroup}, {0}, Gradients::kNone,
       [&] { x = Embed(batch, MemoryCategory::kWorkspace); });
  for (const Chunk& chunk : chunks_) {
    for (size_t i = 0; i < chunk.layers.size(); ++i) {
      const int layer = chunk.run.begin + static_cast<int>(i);
      With({layer}, {layer + 1}, Gradients::kNone,
           [&] { x = chunk.layers[i]->Forward(x, context, rope_, nullptr); });
    }
  }
  return x;
}

double Transformer::EvaluateLoss(const ModelBatch& batch) const {
  const c10::NoGradGuard no_grad;
  const at::Tensor hidden = Hidden(batch);
  double loss = 0.0;
  With(HeadGroups(chunks_.back()), {}, Gradients::kNone,
       [&] { loss = head_->Forward(hidden, batch.target_rows, batch.targets, 1.0, nullptr); });
  return loss;
}

at::Tensor Transformer::Logits(const ModelBatch& batch, const at::Tensor& rows) const {
  const c10::NoGradGuard no_grad;
  const at::Tensor hidden = Hidden(batch);
  at::Tensor logits;
  With(HeadGroups(chunks_.back()), {}, Gradients::kNone,
       [&] { logits = head_->Logits(hidden, rows); });
  return logits;
}

}  // namespace fttrain
