#include "model/blocks/decoder_layer.h"

#include <ATen/ATen.h>

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

RopeTables MakeRopeTables(const std::vector<RopeSpec>& ropes, int64_t max_positions,
                          at::ScalarType compute, c10::Device device) {
  // Angles are float32 products, as the pre-trained models saw them; float64 only where all is
  // float64.
  const at::ScalarType dtype = StatisticsType(compute);
  const auto angles = [&](const std::vector<double>& frequencies) {
    const at::Tensor inverse = at::tensor(frequencies, at::kDouble).to(dtype);
    return at::outer(at::arange(max_positions, at::TensorOptions(dtype)), inverse);
  };
  RopeTables tables;
  for (const RopeSpec& rope : ropes) {
    at::Tensor turns = angles(RopeInverseFrequencies(rope));
    // Rows of no more than so many tokens never take the long form.
    const int64_t border = rope.original_max_position_embeddings;
    const bool has_long = rope.has_long_form() && max_positions > border;
    if (has_long) {
      turns = at::cat({turns, angles(RopeInverseFrequencies(rope, /*long_form=*/true))});
    }
    tables.push_back({turns.cos().mul_(rope.attention_factor).to(device),
                      turns.sin().mul_(rope.attention_factor).to(device), rope.interleaved,
                      has_long ? border : 0});
  }
  return tables;
}

std::vector<KeptTensor> DecoderLayerSaved::Kept() {
  std::vector<KeptTensor> kept;
  for (size_t i = 0; i < blocks.size(); ++i) {
    const std::string prefix = "block " + std::to_string(i) + " ";
    kept.push_back({prefix + "input", &blocks[i]->input});
    kept.push_back({prefix + "output", &blocks[i]->output});
    for (const SavedTensor& each : blocks[i]->Inner(0)) {
      kept.push_back({prefix + each.name, each.tensor});
    }
  }
  return kept;
}

DecoderLayer::DecoderLayer(const LayerSpec& layer, const ModelOptions& options, Communicator& tp,
                           const ParameterSet& set, Nf4Ahead* ahead, Communicator* ep)
    : spec_(layer),
      recompute_(options.recompute),
      compute_(options.compute),
      ahead_(ahead),
      region_(tp, options.sequence_parallel) {
  const BlockSetup setup = {options, tp, set, ahead, ep};
  for (const BlockSpec& block : layer) {
    norms_.push_back({block.before ? setup.Norm(*block.before) : nullptr,
                      block.after ? setup.Norm(*block.after) : nullptr});
    blocks_.push_back(MakeBlock(block, setup));
  }
}

size_t DecoderLayer::First(size_t i) const {
  while (spec_[i].beside) --i;
  return i;
}

at::Tensor DecoderLayer::Input(size_t i, at::Tensor& stream, at::Tensor delta) const {
  Parameter* const norm = norms_[i].before;
  at::Tensor input;
  if (!delta.defined()) {
    return region_.Enter(norm == nullptr ? stream
                                         : NormForward(stream, norm->value, spec_[i].before->form));
  }
  if (norm != nullptr) {
    input = AddNormForward(delta, stream, norm->value, spec_[i].before->form);
  } else {
    input = delta.add_(stream);
  }
  stream = std::move(delta);
  return region_.Enter(input);
}

at::Tensor DecoderLayer::InputAgain(size_t i, const DecoderLayerSaved& saved) const {
  at::Tensor stream = saved.blocks[i]->input;
  return Input(i, stream, {});
}

at::Tensor DecoderLayer::Delta(size_t i, const BlockContext& context, MemoryCategory category,
                               MemoryCategory output, BlockSaved& mine, bool last_use) const {
  Parameter* const norm = norms_[i].after;
  at::Tensor delta =
      blocks_[i]->ForwardOutput(context, norm == nullptr ? category : output, mine, last_use);
  const MemoryScope scope(category);
  if (norm != nullptr) {
    mine.output = std::move(delta);
    delta = NormForward(mine.output, norm->value, spec_[i].after->form);
  }
  if (spec_[i].residual_scale != 1.0) delta.mul_(spec_[i].residual_scale);
  return delta;
}

at::Tensor DecoderLayer::Forward(const at::Tensor& x, const MicrobatchContext& context,
                                 const RopeTables& ropes, DecoderLayerSaved* saved) const {
  const MemoryScope workspace(MemoryCategory::kWorkspace);
  const BlockContext block_context = {context, ropes};
  const auto category = [&](bool kept) {
    return saved != nullptr && kept ? MemoryCategory::kSaved : MemoryCategory::kWorkspace;
  };
  const bool inputs = recompute_ != Recompute::kFull;
  const bool all = saved != nullptr && recompute_ == Recompute::kNone;
  at::Tensor stream = x, delta, input;
  DecoderLayerSaved made;
  for (size_t i = 0; i < blocks_.size(); ++i) {
    std::unique_ptr<BlockSaved> mine = NewSaved(spec_[i], RankIn(region_.tp()), compute_);
    const bool first = !spec_[i].beside, shared = i + 1 < blocks_.size() && spec_[i + 1].beside;
    if (first) input = Input(i, stream, std::exchange(delta, {}));
    blocks_[i]->ForwardInner(shared ? input : std::exchange(input, {}), block_context,
                             category(all), *mine);
    if (first && (i == 0 || inputs)) mine->input = stream;
    if (all) CheckInner(*mine, context.layout.tokens());
    // The last block's output becomes the next layer's input.
    const bool kept = i + 1 == blocks_.size() || inputs;
    const at::Tensor before = std::exchange(delta, {});
    delta = Delta(i, block_context, category(kept), category(inputs), *mine, /*last_use=*/!all);
    if (before.defined()) delta.add_(before);
    if (!all) mine->FreeInner();
    if (saved == nullptr || !inputs) mine->output.reset();
    made.blocks.push_back(std::move(mine));
  }
  at::Tensor y = delta.add_(stream);
  if (saved != nullptr) *saved = std::move(made);
  return y;
}

at::Tensor DecoderLayer::InputFromBefore(size_t i, const BlockContext& context,
                                         DecoderLayerSaved& saved) const {
  constexpr MemoryCategory kWorkspace = MemoryCategory::kWorkspace;
  const size_t begin = First(i - 1);
  at::Tensor delta;
  for (size_t j = begin; j < i; ++j) {
    const at::Tensor before = std::exchange(delta, {});
    delta = Delta(j, context, kWorkspace, kWorkspace, *saved.blocks[j], /*last_use=*/false);
    if (before.defined()) delta.add_(before);
  }
  at::Tensor stream = saved.blocks[begin]->input;
  at::Tensor normed = Input(i, stream, std::move(delta));
  saved.blocks[i]->input = std::move(stream);
  return normed;
}

void DecoderLayer::MakeInner(size_t i, const BlockContext& context,
                             DecoderLayerSaved& saved) const {
  BlockSaved& mine = *saved.blocks[i];
  if (mine.HasInner()) return;
  const size_t first = First(i);
  const bool has_input = saved.blocks[first]->input.defined();
  for (size_t j = has_input ? first : First(first - 1); j < first; ++j) {
    MakeInner(j, context, saved);
  }
  // Products with NF4 matrices belong to a forward that Backward repeats.
  if (ahead_ != nullptr) ahead_->SetRecomputing(true);
  const absl::Cleanup done = [&] {
    if (ahead_ != nullptr) ahead_->SetRecomputing(false);
  };
  const at::Tensor input =
      has_input ? InputAgain(first, saved) : InputFromBefore(first, context, saved);
  blocks_[i]->ForwardInner(input, context, MemoryCategory::kWorkspace, mine);
  if (region_.sequence_parallel() && blocks_[i]->NeedsInput()) mine.normed = input;
}

at::Tensor DecoderLayer::OutputGradient(size_t i, const at::Tensor& dy, const BlockContext& context,
                                        BlockSaved& mine) const {
  at::Tensor ddelta = spec_[i].residual_scale == 1.0 ? dy : dy * spec_[i].residual_scale;
  Parameter* const norm = norms_[i].after;
  if (norm == nullptr) return ddelta;
  if (!mine.output.defined()) {
    if (ahead_ != nullptr) ahead_->SetRecomputing(true);
    mine.output = blocks_[i]->ForwardOutput(context, MemoryCategory::kWorkspace, mine,
                                            /*last_use=*/false);
    if (ahead_ != nullptr) ahead_->SetRecomputing(false);
  }
  ddelta = NormBackward(ddelta, mine.output, norm->value, spec_[i].after->form, {}, norm->grad);
  mine.output.reset();
  return ddelta;
}

at::Tensor DecoderLayer::InputGradient(size_t i, at::Tensor dx, const at::Tensor& dy,
                                       const BlockSaved& mine) const {
  Parameter* const norm = norms_[i].before;
  if (norm == nullptr) return dx.add_(dy);
  return NormBackward(dx, mine.input, norm->value, spec_[i].before->form, dy, norm->grad);
}

at::Tensor DecoderLayer::Backward(at::Tensor dy, const MicrobatchContext& context,
                                  const RopeTables& ropes, DecoderLayerSaved& saved,
                                  bool need_dx) const {
  const MemoryScope workspace(MemoryCategory::kWorkspace);
  const BlockContext block_context = {context, ropes};
  at::Tensor dx;
  for (size_t i = blocks_.size(); i-- > 0;) {
    MakeInner(i, block_context, saved);
    BlockSaved& mine = *saved.blocks[i];
    const size_t first = First(i);
    const auto input = [&] {
      return mine.normed.defined() ? std::move(mine.normed) : InputAgain(first, saved);
    };
    const Parameter* const norm = norms_[first].before;
    const bool below = first > 0 || need_dx || (norm != nullptr && norm->trainable);
    at::Tensor mine_dx = blocks_[i]->Backward(OutputGradient(i, dy, block_context, mine),
                                              block_context, input, mine, below);
    dx = dx.defined() ? dx.add_(mine_dx) : std::move(mine_dx);
    if (i == first) dy = below ? InputGradient(i, std::exchange(dx, {}), dy, mine) : at::Tensor();
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

}  // namespace fttrain
