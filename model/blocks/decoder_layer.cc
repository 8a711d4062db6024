#include "model/blocks/decoder_layer.h"

#include <ATen/ATen.h>
#include <c10/util/accumulate.h>

#include <algorithm>
#include <string>
#include <utility>

#include "absl/cleanup/cleanup.h"
#include "model/kernels/dispatch.h"

namespace fttrain {
namespace {

// That what is kept is what KeptBytes counts.
void CheckInner(BlockSaved& saved, int64_t tokens) {
  for (const SavedTensor& each : saved.Inner(tokens)) {
    TORCH_CHECK(each.tensor->sizes() == each.sizes && each.tensor->scalar_type() == each.dtype,
                each.name, " is ", each.tensor->toString(), " ", each.tensor->sizes(),
                ", counted as ", each.dtype, " ", c10::IntArrayRef(each.sizes));
  }
}

}  // namespace

RopeTables MakeRopeTables(const RopeSpec& rope, int64_t max_positions, at::ScalarType compute,
                          c10::Device device) {
  // Angles are float32 products, as the pre-trained models saw them; float64 only where all is
  // float64.
  const at::ScalarType dtype = StatisticsType(compute);
  const std::vector<double> frequencies = RopeInverseFrequencies(rope);
  const at::Tensor inverse = at::tensor(frequencies, at::kDouble).to(dtype);
  const at::Tensor angles = at::outer(at::arange(max_positions, at::TensorOptions(dtype)), inverse);
  return {angles.cos().mul_(rope.attention_factor).to(device),
          angles.sin().mul_(rope.attention_factor).to(device)};
}

std::vector<KeptTensor> DecoderLayerSaved::Kept() {
  std::vector<KeptTensor> kept;
  for (size_t i = 0; i < blocks.size(); ++i) {
    const std::string prefix = "block " + std::to_string(i) + " ";
    kept.push_back({prefix + "input", &blocks[i]->input});
    for (const SavedTensor& each : blocks[i]->Inner(0)) {
      kept.push_back({prefix + each.name, each.tensor});
    }
  }
  return kept;
}

DecoderLayer::DecoderLayer(const LayerSpec& layer, const ModelOptions& options, Communicator& tp,
                           const ParameterSet& set, Nf4Ahead* ahead)
    : spec_(layer),
      recompute_(options.recompute),
      compute_(options.compute),
      ahead_(ahead),
      region_(tp, options.sequence_parallel) {
  const BlockSetup setup = {options, tp, set, ahead};
  for (const BlockSpec& block : layer) {
    norms_.push_back(setup.Norm(block.before));
    blocks_.push_back(MakeBlock(block, setup));
  }
}

at::Tensor DecoderLayer::Forward(const at::Tensor& x, const MicrobatchContext& context,
                                 const RopeTables& rope, DecoderLayerSaved* saved) const {
  const MemoryScope workspace(MemoryCategory::kWorkspace);
  const BlockContext block_context = {context, rope};
  const auto category = [&](bool kept) {
    return saved != nullptr && kept ? MemoryCategory::kSaved : MemoryCategory::kWorkspace;
  };
  const bool all = saved != nullptr && recompute_ == Recompute::kNone;
  at::Tensor stream = x, delta;
  DecoderLayerSaved made;
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const Block& block = *blocks_[i];
    const double eps = spec_[i].before.eps;
    std::unique_ptr<BlockSaved> mine = NewSaved(spec_[i], RankIn(region_.tp()), compute_);
    block.ForwardInner(
        region_.Enter(i == 0 ? RmsNormForward(stream, norms_[i]->value, eps)
                             : AddRmsNormForward(delta, stream, norms_[i]->value, eps)),
        block_context, category(all), *mine);
    if (i > 0) stream = std::move(delta);  // the norm has added the stream to it
    if (i == 0 || recompute_ != Recompute::kFull) mine->input = stream;
    if (all) CheckInner(*mine, context.layout.tokens());
    // The last block's output becomes the next layer's input.
    const bool kept = i + 1 == blocks_.size() || recompute_ != Recompute::kFull;
    delta = block.ForwardOutput(block_context, category(kept), *mine, /*last_use=*/!all);
    if (!all) mine->FreeInner();
    made.blocks.push_back(std::move(mine));
  }
  at::Tensor y = delta.add_(stream);
  if (saved != nullptr) *saved = std::move(made);
  return y;
}

at::Tensor DecoderLayer::InputAgain(size_t i, const DecoderLayerSaved& saved) const {
  return region_.Enter(
      RmsNormForward(saved.blocks[i]->input, norms_[i]->value, spec_[i].before.eps));
}

void DecoderLayer::MakeInner(size_t i, const BlockContext& context,
                             DecoderLayerSaved& saved) const {
  BlockSaved& mine = *saved.blocks[i];
  if (mine.HasInner()) return;
  const bool has_input = mine.input.defined();
  if (!has_input) MakeInner(i - 1, context, saved);
  // Products with NF4 matrices belong to a forward that Backward repeats.
  if (ahead_ != nullptr) ahead_->SetRecomputing(true);
  const absl::Cleanup done = [&] {
    if (ahead_ != nullptr) ahead_->SetRecomputing(false);
  };
  at::Tensor normed;
  if (has_input) {
    normed = InputAgain(i, saved);
  } else {
    BlockSaved& before = *saved.blocks[i - 1];
    mine.input = blocks_[i - 1]->ForwardOutput(context, MemoryCategory::kWorkspace, before,
                                               /*last_use=*/false);
    normed = region_.Enter(
        AddRmsNormForward(mine.input, before.input, norms_[i]->value, spec_[i].before.eps));
  }
  blocks_[i]->ForwardInner(normed, context, MemoryCategory::kWorkspace, mine);
  if (region_.sequence_parallel() && blocks_[i]->NeedsInput()) mine.normed = normed;
}

at::Tensor DecoderLayer::Backward(at::Tensor dy, const MicrobatchContext& context,
                                  const RopeTables& rope, DecoderLayerSaved& saved,
                                  bool need_dx) const {
  const MemoryScope workspace(MemoryCategory::kWorkspace);
  const BlockContext block_context = {context, rope};
  for (size_t i = blocks_.size(); i-- > 0;) {
    MakeInner(i, block_context, saved);
    BlockSaved& mine = *saved.blocks[i];
    const auto input = [&] {
      return mine.normed.defined() ? std::move(mine.normed) : InputAgain(i, saved);
    };
    const bool below = i > 0 || need_dx || norms_[i]->trainable;
    const at::Tensor dx = blocks_[i]->Backward(dy, block_context, input, mine, below);
    dy = below ? RmsNormBackward(dx, mine.input, norms_[i]->value, spec_[i].before.eps, dy,
                                 norms_[i]->grad)
               : at::Tensor();
    saved.blocks.pop_back();
  }
  return dy;
}

void DecoderLayer::HoldWeights(bool hold) {
  for (const auto& block : blocks_) {
    for (Linears* linears : block->InOrder()) linears->Hold(hold);
  }
}

void DecoderLayer::HoldFactors(bool hold) {
  for (const auto& block : blocks_) {
    for (Linears* linears : block->InOrder()) linears->HoldFactors(hold);
  }
}

int64_t KeptBytes(const LayerSpec& layer, const ModelOptions& options, int tp, int64_t tokens) {
  const int64_t width = static_cast<int64_t>(c10::elementSize(options.compute));
  const int64_t rows = options.sequence_parallel ? tokens / tp : tokens;
  int64_t bytes = 0;
  for (size_t i = 0; i < layer.size(); ++i) {
    if (i == 0 || options.recompute != Recompute::kFull) {
      bytes += rows * layer[i].before.size * width;
    }
    if (options.recompute != Recompute::kNone) continue;
    for (const SavedTensor& each : NewSaved(layer[i], {0, tp}, options.compute)->Inner(tokens)) {
      bytes +=
          c10::multiply_integers(each.sizes) * static_cast<int64_t>(c10::elementSize(each.dtype));
    }
  }
  return bytes;
}

int64_t AttentionWorkspace(const LayerSpec& layer, at::ScalarType compute, int tp,
                           AttentionShape microbatch, bool deterministic) {
  int64_t most = 0;
  for (const BlockSpec& block : layer) {
    const auto* attention = std::get_if<AttentionSpec>(&block.body);
    if (attention == nullptr) continue;
    AttentionShape shape = microbatch;
    shape.head_dim = attention->head_dim;
    shape.heads = SliceOf(attention->q, {0, tp}).range.extent / shape.head_dim;
    shape.kv_heads = SliceOf(attention->k, {0, tp}).range.extent / shape.head_dim;
    shape.window = attention->window;
    shape.type = compute;
    most = std::max(most, CudaAttentionWorkspace(shape, deterministic));
  }
  return most;
}

int64_t FactorCopyBytes(const LayerSpec& layer, const ModelOptions& options, int tp,
                        c10::Device device) {
  int64_t bytes = 0;
  for (const BlockSpec& block : layer) {
    for (const std::vector<LinearSpec>& linears : LinearsByInput(block)) {
      bytes += FactorCopyBytes(linears, options, {0, tp}, device);
    }
  }
  return bytes;
}

}  // namespace fttrain
