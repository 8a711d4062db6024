// The network of one rank: its runs of decoder layers, the embedding before the first layer and
// head and loss after the last, as the executor's stage.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "model/blocks/decoder_layer.h"
#include "model/blocks/router_balance.h"
#include "model/ends/embedding_head.h"
#include "model/network/batch.h"
#include "model/network/parameters.h"
#include "parallel/layout/mesh.h"
#include "parallel/pipeline/executor.h"
#include "parallel/residency/kept_activations.h"
#include "parallel/residency/stored_weights.h"
#include "parallel/storage/parameter_store.h"
#include "runtime/process/activity.h"

namespace fttrain {

class Transformer : public StageModule {
 public:
  // Declares every parameter of this rank in `set`, which must outlive it, as must `mesh`: those of
  // its pipeline stage's runs of layers, of their experts its part along ep. A tied embedding is
  // held by the first and the last stage. Storage comes from a ParameterStore of `set`.
  Transformer(const ModelSpec& model, const ModelOptions& options, const Mesh& mesh,
              ParameterSet& set, int64_t max_positions, c10::Device device);

  // The store of `set`, before anything is computed; it must outlive this. It brings the weights
  // for the visits of a step (parallel/residency) and takes the gradients away.
  void UseStore(ParameterStore& store);
  // Each visit of a step is a move there from now on; it must outlive this.
  void UseActivity(Activity& activity) { activity_ = &activity; }

  // Sees what comes out of each part (a layer's index, kEmbeddingPart; of kHeadPart the loss) in
  // forwards from now on, for one who looks for a fault. Null: nobody.
  using Inspector = std::function<void(int part, int microbatch, const at::Tensor& out)>;
  void InspectForwards(Inspector inspector) { inspect_ = std::move(inspector); }

  // Microbatches of the next schedule, and what it minimises; null: forwards alone, for logits.
  // What a schedule that failed has left is given up. `router_scale` above 0: it minimises also the
  // routers' loss of the microbatches, each times its tokens and this (RouterBalance); of a model
  // with experts, and of microbatches that a backward follows.
  void BeginStep(std::vector<ModelBatch> batches, std::unique_ptr<const Objective> objective,
                 double router_scale = 0);
  // Chunk c is the c-th run of layers of this stage.
  int num_chunks() const { return static_cast<int>(chunks_.size()); }
  void BeginSchedule(const std::vector<PipelineStep>& steps) override;
  at::Tensor Forward(int chunk, int microbatch, at::Tensor input) override;
  at::Tensor Backward(int chunk, int microbatch, at::Tensor doutput) override;
  MessageSpec Boundary(int microbatch) const override;
  // Sum of the losses of this rank's microbatches since BeginStep, as the objective gives it: a
  // float64 scalar on the device, the caller's own; 0 on all stages but the last.
  at::Tensor LossSum() const;
  // The same sum of the routers' losses, each times its microbatch's tokens, without the scale.
  at::Tensor RouterLossSum() const;
  // Without an objective: the logits [M, V] of a microbatch's target_rows, once; undefined on all
  // stages but the last. The same on all its tp ranks.
  at::Tensor TakeLogits(int microbatch);

  // Evaluation of a stage that holds the whole model, nothing kept: loss sum, or logits [M, V] of
  // the given rows, of one batch. Collective over tp.
  double EvaluateLoss(ModelBatch batch);
  at::Tensor Logits(ModelBatch batch, at::Tensor rows);
  // The same logits of the pipeline that `links` make of stages, in any layout; undefined on all
  // stages but the last. Collective over the mesh: every replica has the same batch.
  at::Tensor Logits(ModelBatch batch, at::Tensor rows, StageLinks& links);

 private:
  void MakeResidents(const ModelOptions& options, c10::Device device);
  // Calls `work`(visit) while everything the visit uses is there.
  template <typename Work>
  void At(int part, Visit::Pass pass, int microbatch, const Work& work);
  DecoderLayerSaved& SavedOf(int layer, int microbatch);
  void ForwardHead(const Visit& visit, const at::Tensor& x);
  // What comes from another run of layers, and goes to one: x itself or, with the routers' loss and
  // several stages, with its sums behind it.
  at::Tensor TakeIn(int microbatch, at::Tensor message);
  at::Tensor HandOn(int microbatch, at::Tensor x, MemoryCategory category);
  std::vector<int> GroupsOf(int part) const;
  struct Activations {
    std::map<int, DecoderLayerSaved> layers;
    Head::Saved head;
    at::Tensor coefficients;  // of the objective, if they are not constant
    at::Tensor logits;        // without one
    std::optional<RouterBalance> balance;
  };
  bool train_base_, tied_, divided_;  // divided: over several stages
  at::ScalarType compute_;
  int64_t hidden_size_;
  c10::Device device_;
  SequenceRegion region_;
  int64_t max_positions_;
  RoutersShape routers_;
  RopeTables ropes_;
  std::unique_ptr<Nf4Ahead> ahead_;       // on CUDA, of NF4 weights that stay
  std::unique_ptr<Embedding> embedding_;  // of the first stage
  std::vector<LayerRun> chunks_;
  std::map<int, std::unique_ptr<DecoderLayer>> layers_;  // of all chunks, by index in the model
  std::unique_ptr<Head> head_;
  std::vector<ModelBatch> batches_;
  std::unique_ptr<const Objective> objective_;
  std::vector<Activations> activations_;
  Activity* activity_ = nullptr;
  Inspector inspect_;
  Residency residency_;
  std::optional<StoredWeights> weights_;
  std::optional<KeptActivations> kept_;    // with activations_on_host
  std::unique_ptr<Resident> dequantized_;  // of NF4 weights
  std::unique_ptr<Resident> factors_;      // of adapters, as products read them
  // float64 scalars on the device: a step asks for them once, at its end.
  at::Tensor loss_sum_, router_loss_sum_;
};

}  // namespace fttrain
