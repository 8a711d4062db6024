#include "model/transformer.h"

#include <c10/core/GradMode.h>

#include <algorithm>
#include <utility>

namespace fttrain {
namespace {

constexpr int32_t kNoTarget = -100;

at::Tensor ToDevice(const std::vector<int64_t>& values, c10::Device device) {
  return at::tensor(values, at::kLong).to(device);
}

}  // namespace

ModelBatch MakeModelBatch(const std::vector<int32_t>& input_ids,
                          const std::vector<int32_t>& targets,
                          const std::vector<int32_t>& cu_seqlens,
                          const std::vector<int64_t>& token_index, uint64_t step_key,
                          int64_t pad_to_multiple_of, c10::Device device) {
  const int64_t tokens = static_cast<int64_t>(input_ids.size());
  TORCH_CHECK(targets.size() == input_ids.size() && token_index.size() == input_ids.size(), tokens,
              " input ids, ", targets.size(), " targets, ", token_index.size(), " token indices");
  TORCH_CHECK(pad_to_multiple_of > 0, "pad_to_multiple_of is ", pad_to_multiple_of);
  // At least one token, so that an empty share of a step still runs its collectives.
  const int64_t multiples =
      std::max<int64_t>(1, (tokens + pad_to_multiple_of - 1) / pad_to_multiple_of);
  const int64_t padded = multiples * pad_to_multiple_of;
  std::vector<int64_t> ids(input_ids.begin(), input_ids.end()), index = token_index;
  std::vector<int64_t> rows, row_targets;
  for (int64_t row = 0; row < tokens; ++row) {
    if (targets[row] == kNoTarget) continue;
    rows.push_back(row);
    row_targets.push_back(targets[row]);
  }
  std::vector<int32_t> bounds = cu_seqlens.empty() ? std::vector<int32_t>{0} : cu_seqlens;
  if (padded > tokens) bounds.push_back(static_cast<int32_t>(padded));
  ids.resize(padded, 0);
  index.resize(padded, 0);
  ModelBatch batch;
  batch.input_ids = ToDevice(ids, device);
  batch.target_rows = ToDevice(rows, device);
  batch.targets = ToDevice(row_targets, device);
  batch.context.layout = MakeSequenceLayout(std::move(bounds), device);
  batch.context.dropout = {step_key, ToDevice(index, device)};
  return batch;
}

Transformer::Transformer(const ModelConfig& config, const ModelOptions& options, const Mesh& mesh,
                         ParameterSet& set, int64_t max_positions, c10::Device device)
    : train_base_(options.train_base),
      rope_(MakeRopeTables(config, max_positions, options.compute, device)),
      ahead_(options.nf4 && device.is_cuda() ? std::make_unique<Nf4Ahead>(device, options.compute)
                                             : nullptr),
      embedding_(config, options, mesh.tp(), set),
      layers_(MakeLayers(config, options, mesh.tp(), set, ahead_.get())),
      head_(config, options, mesh.tp(), config.tie_word_embeddings ? embedding_.weight() : nullptr,
            set) {}

std::vector<std::unique_ptr<DecoderLayer>> Transformer::MakeLayers(const ModelConfig& config,
                                                                   const ModelOptions& options,
                                                                   Communicator& tp,
                                                                   ParameterSet& set,
                                                                   Nf4Ahead* ahead) {
  std::vector<std::unique_ptr<DecoderLayer>> layers;
  for (int64_t index = 0; index < config.num_layers; ++index) {
    layers.push_back(
        std::make_unique<DecoderLayer>(config, static_cast<int>(index), options, tp, set, ahead));
  }
  return layers;
}

void Transformer::BeginStep(std::vector<ModelBatch> batches, double loss_scale) {
  batches_ = std::move(batches);
  activations_.clear();
  activations_.resize(batches_.size());
  loss_scale_ = loss_scale;
  loss_sum_ = 0.0;
}

at::Tensor Transformer::Forward(int chunk, int microbatch, const at::Tensor& /*input*/) {
  const c10::NoGradGuard no_grad;
  TORCH_CHECK(chunk == 0, "chunk ", chunk, " of a stage that holds the whole model");
  const ModelBatch& batch = batches_.at(microbatch);
  Activations& kept = activations_.at(microbatch);
  kept.layers.resize(layers_.size());
  at::Tensor x = Embed(batch, MemoryCategory::kSaved);
  for (size_t i = 0; i < layers_.size(); ++i) {
    x = layers_[i]->Forward(x, batch.context, rope_, &kept.layers[i]);
  }
  loss_sum_ += head_.Forward(x, batch.target_rows, batch.targets, loss_scale_, &kept.head);
  return {};
}

at::Tensor Transformer::Backward(int chunk, int microbatch, const at::Tensor& /*doutput*/) {
  const c10::NoGradGuard no_grad;
  TORCH_CHECK(chunk == 0, "chunk ", chunk, " of a stage that holds the whole model");
  const ModelBatch& batch = batches_.at(microbatch);
  Activations& kept = activations_.at(microbatch);
  at::Tensor dx = head_.Backward(kept.head);
  for (size_t i = layers_.size(); i-- > 0;) {
    // A frozen embedding is the bottom: nothing needs the first layer's input gradient.
    dx = layers_[i]->Backward(std::move(dx), batch.context, rope_, kept.layers[i],
                              i > 0 || train_base_);
  }
  if (train_base_) embedding_.Backward(dx, batch.input_ids);
  kept = {};
  return {};
}

at::Tensor Transformer::Embed(const ModelBatch& batch, MemoryCategory category) const {
  const MemoryScope scope(category);
  return embedding_.Forward(batch.input_ids);
}

at::Tensor Transformer::Hidden(const ModelBatch& batch) const {
  MicrobatchContext context = batch.context;
  context.dropout = {};
  at::Tensor x = Embed(batch, MemoryCategory::kWorkspace);
  for (const auto& layer : layers_) x = layer->Forward(x, context, rope_, nullptr);
  return x;
}

double Transformer::EvaluateLoss(const ModelBatch& batch) const {
  const c10::NoGradGuard no_grad;
  return head_.Forward(Hidden(batch), batch.target_rows, batch.targets, 1.0, nullptr);
}

at::Tensor Transformer::Logits(const ModelBatch& batch, const at::Tensor& rows) const {
  const c10::NoGradGuard no_grad;
  return head_.Logits(Hidden(batch), rows);
}

void AllocateFrozen(ParameterSet& set, c10::Device device) {
  for (const auto& parameter : set.all()) parameter->value = AllocateValue(*parameter, device);
}

}  // namespace fttrain
