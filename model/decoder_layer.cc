#include "model/decoder_layer.h"

#include <cmath>
#include <utility>

namespace fttrain {

RopeTables MakeRopeTables(const ModelConfig& config, int64_t max_positions, at::ScalarType compute,
                          c10::Device device) {
  // Angles are float32 products, as the pre-trained models saw them; float64 only where all is
  // float64.
  const at::ScalarType dtype = compute == at::kDouble ? at::kDouble : at::kFloat;
  const std::vector<double> frequencies = RopeInverseFrequencies(config);
  const at::Tensor inverse = at::tensor(frequencies, at::kDouble).to(dtype);
  const at::Tensor angles = at::outer(at::arange(max_positions, at::TensorOptions(dtype)), inverse);
  return {angles.cos().to(device), angles.sin().to(device)};
}

AttentionOptions DecoderLayer::Attention() const {
  return {.scale = 1.0 / std::sqrt(static_cast<double>(config_.head_dim)), .window = window_};
}

std::pair<at::Tensor, at::Tensor> DecoderLayer::RotatedQueryKey(const DecoderLayerSaved& saved,
                                                                const MicrobatchContext& context,
                                                                const RopeTables& rope) const {
  if (q_norm_ == nullptr) return {saved.q, saved.k};
  at::Tensor q = RmsNormForward(saved.q, q_norm_->value, config_.rms_norm_eps);
  at::Tensor k = RmsNormForward(saved.k, k_norm_->value, config_.rms_norm_eps);
  RopeInPlace(q, rope.cos, rope.sin, context.layout.positions, /*inverse=*/false);
  RopeInPlace(k, rope.cos, rope.sin, context.layout.positions, /*inverse=*/false);
  return {q, k};
}

at::Tensor DecoderLayer::ForwardAndLeave(const LocalLinear& linear, const at::Tensor& x,
                                         const MicrobatchContext& context,
                                         MemoryCategory category) const {
  const MemoryScope scope(category);
  at::Tensor partial;
  {
    // With sequence parallelism only the reduced rows are kept.
    const MemoryScope inner(region_.sequence_parallel() ? MemoryCategory::kWorkspace : category);
    partial = linear.Forward(x, context.dropout);
  }
  return region_.Leave(std::move(partial));
}

at::Tensor DecoderLayer::ForwardAttention(const at::Tensor& x, const MicrobatchContext& context,
                                          const RopeTables& rope, MemoryCategory category,
                                          DecoderLayerSaved& saved) const {
  const at::Tensor normed =
      region_.Enter(RmsNormForward(x, input_norm_->value, config_.rms_norm_eps));
  const int64_t tokens = normed.size(0), d = config_.head_dim;
  {
    const MemoryScope scope(category);
    const std::vector<at::Tensor> qkv = qkv_->Forward(normed, context.dropout);
    saved.q = qkv[0].view({tokens, local_heads_, d});
    saved.k = qkv[1].view({tokens, local_kv_heads_, d});
    saved.v = qkv[2].view({tokens, local_kv_heads_, d});
  }
  if (q_norm_ == nullptr) {
    RopeInPlace(saved.q, rope.cos, rope.sin, context.layout.positions, /*inverse=*/false);
    RopeInPlace(saved.k, rope.cos, rope.sin, context.layout.positions, /*inverse=*/false);
  }
  const auto [q, k] = RotatedQueryKey(saved, context, rope);
  {
    const MemoryScope scope(category);
    AttentionResult result = AttentionForward(q, k, saved.v, context.layout, Attention());
    saved.attention_out = std::move(result.out);
    saved.lse = std::move(result.lse);
  }
  return ForwardAndLeave(*o_, saved.attention_out.view({tokens, local_heads_ * d}), context,
                         category);
}

at::Tensor DecoderLayer::Forward(const at::Tensor& x, const MicrobatchContext& context,
                                 const RopeTables& rope, DecoderLayerSaved* saved) const {
  const MemoryScope workspace(MemoryCategory::kWorkspace);
  const MemoryCategory category =
      saved != nullptr ? MemoryCategory::kSaved : MemoryCategory::kWorkspace;
  DecoderLayerSaved scratch;
  DecoderLayerSaved& keep = saved != nullptr ? *saved : scratch;
  keep.input = x;
  keep.residual = ForwardAttention(x, context, rope, category, keep);
  at::Tensor normed = AddRmsNormForward(keep.residual, x, post_norm_->value, config_.rms_norm_eps);
  normed = region_.Enter(normed);
  {
    const MemoryScope scope(category);
    std::vector<at::Tensor> gate_up = gate_up_->Forward(normed, context.dropout);
    keep.gate = std::move(gate_up[0]);
    keep.up = std::move(gate_up[1]);
  }
  normed.reset();
  // The output is the next layer's saved input.
  return ForwardAndLeave(*down_, SwiGluForward(keep.gate, keep.up), context, category)
      .add_(keep.residual);
}

at::Tensor DecoderLayer::BackwardMlp(const at::Tensor& dy, const MicrobatchContext& context,
                                     DecoderLayerSaved& saved) const {
  const DropoutContext& dropout = context.dropout;
  const double eps = config_.rms_norm_eps;
  {
    const at::Tensor dfull = region_.Enter(dy);
    at::Tensor dhidden;
    const at::Tensor dlow = down_->BackwardInput(dfull, dropout, dhidden);
    // From here gate and up hold their gradients.
    const at::Tensor hidden =
        SwiGluBackwardInPlace(dhidden, saved.gate, saved.up, down_->HasTrainable());
    dhidden.reset();
    if (down_->HasTrainable()) down_->BackwardParams(dfull, dlow, hidden, dropout);
  }
  at::Tensor dx;
  {
    const std::vector<at::Tensor> dgate_up = {std::move(saved.gate), std::move(saved.up)};
    const at::Tensor dlow = gate_up_->BackwardInput(dgate_up, dropout, dx);
    if (gate_up_->HasTrainable()) {
      const at::Tensor x = region_.Enter(RmsNormForward(saved.residual, post_norm_->value, eps));
      gate_up_->BackwardParams(dgate_up, dlow, x, dropout);
    }
  }
  dx = region_.Leave(std::move(dx));
  at::Tensor dresidual =
      RmsNormBackward(dx, saved.residual, post_norm_->value, eps, dy, post_norm_->grad);
  saved.residual.reset();
  return dresidual;
}

AttentionGradients DecoderLayer::BackwardAttentionCore(const at::Tensor& dresidual,
                                                       const MicrobatchContext& context,
                                                       const RopeTables& rope,
                                                       DecoderLayerSaved& saved) const {
  const int64_t tokens = saved.v.size(0), d = config_.head_dim;
  at::Tensor dout;
  {
    const at::Tensor dfull = region_.Enter(dresidual);
    const at::Tensor dlow = o_->BackwardInput(dfull, context.dropout, dout);
    if (o_->HasTrainable()) {
      o_->BackwardParams(dfull, dlow, saved.attention_out.view({tokens, local_heads_ * d}),
                         context.dropout);
    }
  }
  AttentionGradients grads;
  {
    const auto [q, k] = RotatedQueryKey(saved, context, rope);
    grads = AttentionBackward(dout.view({tokens, local_heads_, d}), q, k, saved.v,
                              {saved.attention_out, saved.lse}, context.layout, Attention());
  }
  RopeInPlace(grads.dq, rope.cos, rope.sin, context.layout.positions, /*inverse=*/true);
  RopeInPlace(grads.dk, rope.cos, rope.sin, context.layout.positions, /*inverse=*/true);
  if (q_norm_ != nullptr) {
    const double eps = config_.rms_norm_eps;
    grads.dq = RmsNormBackward(grads.dq, saved.q, q_norm_->value, eps, {}, q_norm_->grad);
    grads.dk = RmsNormBackward(grads.dk, saved.k, k_norm_->value, eps, {}, k_norm_->grad);
  }
  grads.dq = grads.dq.view({tokens, local_heads_ * d});
  grads.dk = grads.dk.view({tokens, local_kv_heads_ * d});
  grads.dv = grads.dv.view({tokens, local_kv_heads_ * d});
  return grads;
}

at::Tensor DecoderLayer::Backward(at::Tensor dy, const MicrobatchContext& context,
                                  const RopeTables& rope, DecoderLayerSaved& saved,
                                  bool need_dx) const {
  const MemoryScope workspace(MemoryCategory::kWorkspace);
  const DropoutContext& dropout = context.dropout;
  const at::Tensor dresidual = BackwardMlp(dy, context, saved);
  dy.reset();
  AttentionGradients grads = BackwardAttentionCore(dresidual, context, rope, saved);
  const std::vector<at::Tensor> dqkv = {std::move(grads.dq), std::move(grads.dk),
                                        std::move(grads.dv)};
  const at::Tensor input = std::move(saved.input);
  saved = {};

  const bool below = need_dx || input_norm_->trainable;
  at::Tensor dx;
  const at::Tensor dlow = below ? qkv_->BackwardInput(dqkv, dropout, dx) : qkv_->BackwardLow(dqkv);
  if (qkv_->HasTrainable()) {
    const at::Tensor x =
        region_.Enter(RmsNormForward(input, input_norm_->value, config_.rms_norm_eps));
    qkv_->BackwardParams(dqkv, dlow, x, dropout);
  }
  if (!below) return {};
  dx = region_.Leave(std::move(dx));
  return RmsNormBackward(dx, input, input_norm_->value, config_.rms_norm_eps, dresidual,
                         input_norm_->grad);
}

}  // namespace fttrain
