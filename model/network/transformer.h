// The network of one rank: its runs of decoder layers, the embedding before the first layer and
// head and loss after the last, as the executor's stage.
#pragma once

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "model/blocks/decoder_layer.h"
#include "model/ends/embedding_head.h"
#include "model/network/batch.h"
#include "model/network/parameters.h"
#include "parallel/layout/mesh.h"
#include "parallel/pipeline/executor.h"
#include "parallel/storage/parameter_store.h"

namespace fttrain {

class Transformer : public StageModule {
 public:
  // Declares every parameter of this rank in `set`, which must outlive it, as must `mesh`: those of
  // its pipeline stage's runs of layers. A tied embedding is held by the first and the last stage.
  // Storage comes from a ParameterStore of `set`.
  Transformer(const ModelSpec& model, const ModelOptions& options, const Mesh& mesh,
              ParameterSet& set, int64_t max_positions, c10::Device device);

  // The store of `set`, before anything is computed; it must outlive this. It brings the weights,
  // layer by layer, or a chunk of one layer for all its microbatches, and takes the gradients away.
  void UseStore(ParameterStore& store) { parameters_ = &store; }

  // Microbatches of the next optimizer step, and 1 / its global number of target tokens.
  void BeginStep(std::vector<ModelBatch> batches, double loss_scale);
  // Chunk c is the c-th run of layers of this stage.
  int num_chunks() const { return static_cast<int>(chunks_.size()); }
  at::Tensor Forward(int chunk, int microbatch, at::Tensor input) override;
  at::Tensor Backward(int chunk, int microbatch, at::Tensor doutput) override;
  // Of a chunk of one layer: its weights are brought, and its gradients taken away, once for all
  // its consecutive steps; in steps of several microbatches NF4 matrices (the head's with the last
  // chunk) are dequantised once for all of them.
  void AcquireChunk(int chunk, int next) override;
  void ReleaseChunk(int chunk) override;
  void BackwardFollows(int chunk, int microbatch) override;
  MessageSpec Boundary(int microbatch) const override;
  // Sum of token losses of this rank's microbatches since BeginStep (unscaled); 0 on all stages but
  // the last.
  double LossSum() const { return loss_sum_; }

  // Evaluation, nothing kept: loss sum, or logits [M, V] of the given rows, of one batch. Of a
  // stage that holds the whole model. Collective over tp.
  double EvaluateLoss(const ModelBatch& batch) const;
  at::Tensor Logits(const ModelBatch& batch, const at::Tensor& rows) const;

 private:
  // A run of layers of this stage.
  struct Chunk {
    LayerRun run;
    std::vector<std::unique_ptr<DecoderLayer>> layers;
  };
  bool HoldsWeights(const Chunk& chunk) const;
  std::vector<int> HeadGroups(const Chunk& chunk) const;  // none but of the last
  std::vector<int> GroupsOf(const Chunk& chunk) const;    // all
  enum class Gradients { kNone, kAdded };
  ParameterStore& Parameters() const;
  // Calls `use` with the groups' weights there, and their gradients if it adds to them, and those
  // of `next` on their way.
  template <typename Use>
  void With(const std::vector<int>& groups, const std::vector<int>& next, Gradients gradients,
            const Use& use) const;
  at::Tensor Embed(const ModelBatch& batch, MemoryCategory category) const;
  at::Tensor Hidden(const ModelBatch& batch) const;  // without dropout
  // With activations_on_host: what a layer kept goes to the host, and comes back ahead of its use.
  void PutAway(const Chunk& chunk, size_t layer, int microbatch, DecoderLayerSaved& saved);
  void BringBack(const Chunk& chunk, size_t layer, int microbatch, DecoderLayerSaved& saved);
  void PrefetchNext();  // for the backward that follows
  struct Activations {
    std::vector<std::vector<DecoderLayerSaved>> chunks;
    LmHeadLoss::Saved head;
  };
  ParameterStore* parameters_ = nullptr;
  std::vector<ParameterStore::Lease> chunk_leases_;  // of the acquired chunk, if of one layer
  bool train_base_, tied_;
  at::ScalarType compute_;
  int64_t hidden_size_;
  SequenceRegion region_;
  RopeTables rope_;
  std::unique_ptr<Nf4Ahead> ahead_;       // on CUDA, of NF4 weights that stay
  std::unique_ptr<Embedding> embedding_;  // also where the head is tied to it
  std::vector<Chunk> chunks_;
  std::unique_ptr<LmHeadLoss> head_;
  std::vector<ModelBatch> batches_;
  std::vector<Activations> activations_;
  std::unique_ptr<ActivationStore> store_;
  std::optional<std::pair<int, int>> next_backward_;  // chunk, microbatch
  double loss_scale_ = 1.0;
  double loss_sum_ = 0.0;
};

}  // namespace fttrain
