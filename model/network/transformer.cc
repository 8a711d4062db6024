#include "model/network/transformer.h"

#include <ATen/core/LegacyTypeDispatch.h>

#include <algorithm>
#include <functional>
#include <set>
#include <utility>

#include "model/network/border.h"

namespace fttrain {
namespace {

// Parts that hold something made from their parameters.
class Holding : public Resident {
 public:
  using Hold = std::function<void(int part, bool hold)>;
  explicit Holding(Hold hold) : hold_(std::move(hold)) {}
  void Start(const Visit&, std::span<const Visit>) override {}
  void Abort() override {
    while (!held_.empty()) Release(*held_.begin());
  }

 protected:
  void Make(int part) {
    if (held_.insert(part).second) hold_(part, true);
  }
  void Release(int part) {
    if (held_.erase(part) > 0) hold_(part, false);
  }

 private:
  Hold hold_;
  std::set<int> held_;
};

// Matrices that a stretch of several microbatches reads exist dequantised from its first visit to
// its last. More layers at once would be the dense model, which NF4 is there to avoid.
class DequantizedMatrices : public Holding {
 public:
  using Holding::Holding;
  void Await(const Visit& visit) override {
    if (visit.shared && visit.first) Make(visit.part);
  }
  void Done(const Visit& visit) override {
    if (visit.shared && visit.last) Release(visit.part);
  }
};

// Copies of the adapters' factors are made once a step, in the first pass that a backward follows,
// and given up at its end: what changes the parameters comes after that. They cost an eighth of
// what adapters take anyway. Where values come and go with a stretch of visits, so do they.
class FactorCopies : public Holding {
 public:
  FactorCopies(Hold hold, bool values_stay) : Holding(std::move(hold)), values_stay_(values_stay) {}
  void Await(const Visit& visit) override {
    if (visit.is_layer() && visit.kept) Make(visit.part);
  }
  void Start(const Visit&, std::span<const Visit> following) override { last_ = following.empty(); }
  void Done(const Visit& visit) override {
    if (last_) return Abort();
    if (!values_stay_ && visit.last) Release(visit.part);
  }

 private:
  bool values_stay_, last_ = false;
};

at::Tensor CopyOrZero(const at::Tensor& sum, c10::Device device) {
  if (sum.defined()) return sum.clone();
  return at::zeros({}, at::TensorOptions(at::kDouble).device(device));
}

}  // namespace

Transformer::Transformer(const ModelSpec& model, const ModelOptions& options, const Mesh& mesh,
                         ParameterSet& set, int64_t max_positions, c10::Device device)
    : train_base_(options.train_base),
      tied_(model.head.tied),
      divided_(mesh.pp().size() > 1),
      compute_(options.compute),
      hidden_size_(model.hidden_size),
      device_(device),
      region_(mesh.tp(), options.sequence_parallel),
      // The document that pads a microbatch has up to tp - 1 tokens.
      max_positions_(std::max<int64_t>(max_positions, mesh.tp().size())),
      routers_(RoutersShape::Of(model)),
      ropes_(MakeRopeTables(model.ropes, max_positions_, options.compute, device)),
      ahead_(options.nf4 && options.weights_stay && device.is_cuda()
                 ? std::make_unique<Nf4Ahead>(device, options.compute)
                 : nullptr) {
  const int stages = mesh.pp().size();
  const std::vector<int> layers =
      options.layers_per_run.empty() ? BalancedRuns(model, stages) : options.layers_per_run;
  const absl::Status fits = CheckRuns(layers, model, static_cast<int>(layers.size()));
  TORCH_CHECK(fits.ok(), fits.ToString());
  chunks_ = RunsOfStage(layers, stages, mesh.pp().rank());
  Communicator& tp = mesh.tp();
  Communicator* const ep = mesh.ep().size() > 1 ? &mesh.ep() : nullptr;
  const ModelSpec part = PartOfExperts(model, mesh.ep().rank(), mesh.ep().size());
  DeclareRuns(part, options, chunks_, stages, RankIn(tp), set);
  for (const LayerRun& run : chunks_) {
    for (int index = run.begin; index < run.end; ++index) {
      const LayerSpec& layer = part.layers.at(static_cast<size_t>(index));
      layers_[index] = std::make_unique<DecoderLayer>(layer, options, tp, set, ahead_.get(), ep);
    }
  }
  if (chunks_.front().first) embedding_ = std::make_unique<Embedding>(model, options, tp, set);
  if (chunks_.back().last) head_ = std::make_unique<Head>(model, options, tp, set);
  MakeResidents(options, device);
}

void Transformer::MakeResidents(const ModelOptions& options, c10::Device device) {
  if (options.activations_on_host) {
    kept_.emplace(device,
                  [this](int layer, int microbatch) { return SavedOf(layer, microbatch).Kept(); });
  }
  dequantized_ = std::make_unique<DequantizedMatrices>([this](int part, bool hold) {
    if (part == kHeadPart) head_->HoldWeights(hold);
    if (part >= 0) layers_.at(part)->HoldWeights(hold);
  });
}

void Transformer::UseStore(ParameterStore& store) {
  weights_.emplace(store, [this](int part) { return GroupsOf(part); });
  residency_.Add(*weights_);
  factors_ = std::make_unique<FactorCopies>(
      [this](int part, bool hold) { layers_.at(part)->HoldFactors(hold); },
      /*values_stay=*/store.zero_stage() < 3);
  residency_.Add(*factors_);
  if (kept_) residency_.Add(*kept_);
  residency_.Add(*dequantized_);
}

void Transformer::BeginStep(std::vector<ModelBatch> batches,
                            std::unique_ptr<const Objective> objective, double router_scale) {
  residency_.Abort();
  batches_ = std::move(batches);
  // Kernels on a GPU look positions up unchecked.
  for (const ModelBatch& batch : batches_) {
    TORCH_CHECK(batch.context.layout.max_document_tokens <= max_positions_, "a document of ",
                batch.context.layout.max_document_tokens, " tokens, with positions for ",
                max_positions_);
  }
  activations_.clear();
  activations_.resize(batches_.size());
  objective_ = std::move(objective);
  loss_sum_.reset();
  router_loss_sum_.reset();
  if (router_scale == 0) return;
  TORCH_CHECK(routers_.layers > 0, "the routers' loss of a model without experts");
  for (size_t i = 0; i < batches_.size(); ++i) {
    activations_[i].balance.emplace(routers_, batches_[i].tokens, router_scale);
    batches_[i].context.balance = &*activations_[i].balance;
  }
}

void Transformer::BeginSchedule(const std::vector<PipelineStep>& steps) {
  TORCH_CHECK(weights_.has_value(), "a transformer without the store of its parameters");
  residency_.Begin(VisitsOf(steps, chunks_, /*embedding_backward=*/train_base_));
}

template <typename Work>
void Transformer::At(int part, Visit::Pass pass, int microbatch, const Work& work) {
  work(residency_.Enter(part, pass, microbatch));
  residency_.Leave();
  if (activity_ != nullptr) activity_->Moved();
}

at::Tensor Transformer::Forward(int chunk, int microbatch, at::Tensor input) {
  const at::AutoDispatchBelowAutograd below;  // nothing here is recorded
  constexpr auto kPass = Visit::Pass::kForward;
  const LayerRun& run = chunks_.at(chunk);
  const ModelBatch& batch = batches_.at(microbatch);
  at::Tensor x = TakeIn(microbatch, std::move(input));
  if (run.first) {
    if (batch.context.balance != nullptr) batch.context.balance->Begin(device_);
    At(kEmbeddingPart, kPass, microbatch, [&](const Visit& visit) {
      const MemoryScope scope(visit.kept ? MemoryCategory::kSaved : MemoryCategory::kWorkspace);
      x = embedding_->Forward(batch.input_ids, batch.input_ids_host);
    });
    if (inspect_) inspect_(kEmbeddingPart, microbatch, x);
  }
  MemoryCategory category = MemoryCategory::kWorkspace;
  for (int layer = run.begin; layer < run.end; ++layer) {
    At(layer, kPass, microbatch, [&](const Visit& visit) {
      if (visit.kept) {
        category = MemoryCategory::kSaved;
        TORCH_CHECK(batch.context.adapters, "a backward without adapters");
        x = layers_.at(layer)->Forward(x, batch.context, ropes_, &SavedOf(layer, microbatch));
      } else {
        MicrobatchContext context = batch.context;
        context.dropout = {};
        context.balance = nullptr;
        x = layers_.at(layer)->Forward(x, context, ropes_, nullptr);
      }
    });
    if (inspect_) inspect_(layer, microbatch, x);
  }
  if (!run.last) return HandOn(microbatch, std::move(x), category);
  At(kHeadPart, kPass, microbatch, [&](const Visit& visit) { ForwardHead(visit, x); });
  return {};
}

void Transformer::ForwardHead(const Visit& visit, const at::Tensor& x) {
  const ModelBatch& batch = batches_.at(visit.microbatch);
  Activations& mine = activations_.at(visit.microbatch);
  if (objective_ == nullptr) {
    mine.logits = head_->Logits(x, batch.target_rows);
    return;
  }
  const std::optional<double> constant = objective_->ConstantCoefficient();
  const Scores scores = head_->Forward(x, batch.target_rows, batch.targets, constant,
                                       visit.kept ? &mine.head : nullptr);
  const MemoryScope scope(visit.kept && !constant ? MemoryCategory::kSaved
                                                  : MemoryCategory::kWorkspace);
  const Losses losses = objective_->Evaluate(visit.microbatch, scores);
  if (visit.kept) mine.coefficients = losses.coefficients;
  if (inspect_) inspect_(kHeadPart, visit.microbatch, losses.sum);
  const MemoryScope lasting(MemoryCategory::kOther);  // until the end of the step
  loss_sum_ = loss_sum_.defined() ? loss_sum_ + losses.sum : losses.sum.clone();
  if (batch.context.balance == nullptr || !visit.kept) return;
  const at::Tensor of_routers = batch.context.balance->LossOfTokens();
  router_loss_sum_ =
      router_loss_sum_.defined() ? router_loss_sum_ + of_routers : of_routers.clone();
}

at::Tensor Transformer::TakeIn(int microbatch, at::Tensor message) {
  RouterBalance* const balance = batches_.at(microbatch).context.balance;
  if (balance == nullptr || !divided_ || !message.defined()) return message;
  auto [x, sums] = UnpackBorder(message, balance->num_sums());
  balance->ContinueWith(sums.view({2, -1}));
  return x;
}

at::Tensor Transformer::HandOn(int microbatch, at::Tensor x, MemoryCategory category) {
  const RouterBalance* const balance = batches_.at(microbatch).context.balance;
  if (balance == nullptr || !divided_) return x;
  return PackBorder(x, balance->sums(), category);
}

at::Tensor Transformer::Backward(int chunk, int microbatch, at::Tensor doutput) {
  const at::AutoDispatchBelowAutograd below;  // nothing here is recorded
  constexpr auto kPass = Visit::Pass::kBackward;
  const LayerRun& run = chunks_.at(chunk);
  const ModelBatch& batch = batches_.at(microbatch);
  RouterBalance* const balance = batch.context.balance;
  at::Tensor dx = TakeIn(microbatch, std::move(doutput));
  if (balance != nullptr) balance->BeginBackward();
  if (run.last) {
    At(kHeadPart, kPass, microbatch, [&](const Visit&) {
      Activations& mine = activations_.at(microbatch);
      dx = head_->Backward(std::exchange(mine.coefficients, {}), mine.head);
    });
  }
  for (int layer = run.end; layer-- > run.begin;) {
    At(layer, kPass, microbatch, [&](const Visit&) {
      // A frozen embedding is the bottom: nothing needs the first layer's input gradient.
      const bool need_dx = layer > 0 || train_base_;
      DecoderLayerSaved& saved = SavedOf(layer, microbatch);
      dx = layers_.at(layer)->Backward(std::move(dx), batch.context, ropes_, saved, need_dx);
    });
    activations_.at(microbatch).layers.erase(layer);
  }
  if (!run.first) {
    dx = HandOn(microbatch, std::move(dx), MemoryCategory::kWorkspace);
  } else if (train_base_) {
    At(kEmbeddingPart, kPass, microbatch,
       [&](const Visit&) { embedding_->Backward(dx, batch.input_ids); });
  }
  if (balance != nullptr && chunk == 0) balance->End();
  return run.first ? at::Tensor() : dx;
}

DecoderLayerSaved& Transformer::SavedOf(int layer, int microbatch) {
  return activations_.at(microbatch).layers[layer];
}

std::vector<int> Transformer::GroupsOf(int part) const {
  if (part == kHeadPart && tied_) return {kEmbeddingGroup, kHeadGroup};
  return {part};
}

MessageSpec Transformer::Boundary(int microbatch) const {
  const ModelBatch& batch = batches_.at(microbatch);
  const at::Tensor& ids = batch.input_ids;
  int64_t rows = ids.size(0) / (region_.sequence_parallel() ? region_.tp().size() : 1);
  if (const RouterBalance* balance = batch.context.balance; balance != nullptr) {
    const auto element = static_cast<int64_t>(c10::elementSize(compute_));
    rows += RowsOfNumbers(balance->num_sums(), hidden_size_ * element);
  }
  return {.sizes = {rows, hidden_size_}, .options = ids.options().dtype(compute_)};
}

at::Tensor Transformer::LossSum() const { return CopyOrZero(loss_sum_, device_); }

at::Tensor Transformer::RouterLossSum() const { return CopyOrZero(router_loss_sum_, device_); }

at::Tensor Transformer::TakeLogits(int microbatch) {
  return std::exchange(activations_.at(microbatch).logits, {});
}

double Transformer::EvaluateLoss(ModelBatch batch) {
  BeginStep({std::move(batch)}, std::make_unique<TokenLoss>(1.0));
  RunSchedule(ForwardsOnly(1, num_chunks(), 1), *this);
  return LossSum().item<double>();
}

at::Tensor Transformer::Logits(ModelBatch batch, at::Tensor rows) {
  return Logits(std::move(batch), std::move(rows), *StageLinks::None());
}

at::Tensor Transformer::Logits(ModelBatch batch, at::Tensor rows, StageLinks& links) {
  batch.target_rows = std::move(rows);
  BeginStep({std::move(batch)}, nullptr);
  const int stages = links.num_stages();
  RunSchedule(PipelineSchedule(static_cast<size_t>(stages), ForwardsOnly(stages, num_chunks(), 1)),
              *this, links);
  return TakeLogits(0);
}

}  // namespace fttrain
