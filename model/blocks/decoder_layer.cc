#include "model/blocks/decoder_layer.h"

#include <utility>

namespace fttrain {

RopeTables MakeRopeTables(const RopeSpec& rope, int64_t max_positions, at::ScalarType compute,
                          c10::Device device) {
  // Angles are float32 products, as the pre-trained models saw them; float64 only where all is
  // float64.
  const at::ScalarType dtype = compute == at::kDouble ? at::kDouble : at::kFloat;
  const std::vector<double> frequencies = RopeInverseFrequencies(rope);
  const at::Tensor inverse = at::tensor(frequencies, at::kDouble).to(dtype);
  const at::Tensor angles = at::outer(at::arange(max_positions, at::TensorOptions(dtype)), inverse);
  return {angles.cos().to(device), angles.sin().to(device)};
}

namespace {

Parameter* FindNorm(const NormSpec& spec, const ParameterSet& set) {
  Parameter* const norm = set.Find(spec.name + ".weight");
  TORCH_CHECK(norm != nullptr, spec.name, " was not declared");
  return norm;
}

TensorRank RankOf(const Communicator& tp) { return {tp.rank(), tp.size()}; }

}  // namespace

DecoderLayer::DecoderLayer(const LayerSpec& layer, const ModelOptions& options, Communicator& tp,
                           const ParameterSet& set, Nf4Ahead* ahead)
    : spec_(std::get<AttentionSpec>(layer.at(0).body)),
      eps_(layer.at(0).before.eps),
      recompute_(options.recompute),
      ahead_(ahead),
      region_(tp, options.sequence_parallel),
      input_norm_(FindNorm(layer[0].before, set)),
      post_norm_(FindNorm(layer.at(1).before, set)),
      qkv_({spec_.q, spec_.k, spec_.v}, options, RankOf(tp), set, ahead),
      o_({spec_.o}, options, RankOf(tp), set, ahead),
      gate_up_({std::get<MlpSpec>(layer[1].body).gate, std::get<MlpSpec>(layer[1].body).up},
               options, RankOf(tp), set, ahead),
      down_({std::get<MlpSpec>(layer[1].body).down}, options, RankOf(tp), set, ahead) {
  if (spec_.q_norm) q_norm_ = FindNorm(*spec_.q_norm, set);
  if (spec_.k_norm) k_norm_ = FindNorm(*spec_.k_norm, set);
}

AttentionOptions DecoderLayer::Attention() const {
  return {.scale = spec_.scale, .window = spec_.window};
}

std::pair<at::Tensor, at::Tensor> DecoderLayer::RotatedQueryKey(const DecoderLayerSaved& saved,
                                                                const MicrobatchContext& context,
                                                                const RopeTables& rope) const {
  if (q_norm_ == nullptr) return {saved.q, saved.k};
  at::Tensor q = RmsNormForward(saved.q, q_norm_->value, eps_);
  at::Tensor k = RmsNormForward(saved.k, k_norm_->value, eps_);
  RopeInPlace(q, rope.cos, rope.sin, context.layout.positions, /*inverse=*/false);
  RopeInPlace(k, rope.cos, rope.sin, context.layout.positions, /*inverse=*/false);
  return {q, k};
}

at::Tensor DecoderLayer::ForwardAndLeave(const Linears& linears, const at::Tensor& x,
                                         const MicrobatchContext& context,
                                         MemoryCategory category) const {
  const MemoryScope scope(category);
  at::Tensor partial;
  {
    // With sequence parallelism only the reduced rows are kept.
    const MemoryScope inner(region_.sequence_parallel() ? MemoryCategory::kWorkspace : category);
    partial = linears.Forward(x, context.dropout).front();
  }
  return region_.Leave(std::move(partial));
}

at::Tensor DecoderLayer::AttentionInput(const at::Tensor& x) const {
  return region_.Enter(RmsNormForward(x, input_norm_->value, eps_));
}

at::Tensor DecoderLayer::MlpInput(const at::Tensor& residual) const {
  return region_.Enter(RmsNormForward(residual, post_norm_->value, eps_));
}

void DecoderLayer::ForwardAttention(const at::Tensor& input, const MicrobatchContext& context,
                                    const RopeTables& rope, MemoryCategory category,
                                    DecoderLayerSaved& saved) const {
  const int64_t tokens = input.size(0), d = spec_.head_dim;
  {
    const MemoryScope scope(category);
    const std::vector<at::Tensor> qkv = qkv_.Forward(input, context.dropout);
    saved.q = qkv[0].view({tokens, -1, d});
    saved.k = qkv[1].view({tokens, -1, d});
    saved.v = qkv[2].view({tokens, -1, d});
  }
  if (q_norm_ == nullptr) {
    RopeInPlace(saved.q, rope.cos, rope.sin, context.layout.positions, /*inverse=*/false);
    RopeInPlace(saved.k, rope.cos, rope.sin, context.layout.positions, /*inverse=*/false);
  }
  const auto [q, k] = RotatedQueryKey(saved, context, rope);
  const MemoryScope scope(category);
  AttentionResult result = AttentionForward(q, k, saved.v, context.layout, Attention());
  saved.attention_out = std::move(result.out);
  saved.lse = std::move(result.lse);
}

at::Tensor DecoderLayer::ForwardOutput(const at::Tensor& attention_out,
                                       const MicrobatchContext& context,
                                       MemoryCategory category) const {
  const int64_t tokens = attention_out.size(0);
  return ForwardAndLeave(o_, attention_out.view({tokens, -1}), context, category);
}

void DecoderLayer::ForwardGateUp(const at::Tensor& input, const MicrobatchContext& context,
                                 MemoryCategory category, DecoderLayerSaved& saved) const {
  const MemoryScope scope(category);
  std::vector<at::Tensor> gate_up = gate_up_.Forward(input, context.dropout);
  saved.gate = std::move(gate_up[0]);
  saved.up = std::move(gate_up[1]);
}

at::Tensor DecoderLayer::Forward(const at::Tensor& x, const MicrobatchContext& context,
                                 const RopeTables& rope, DecoderLayerSaved* saved) const {
  const MemoryScope workspace(MemoryCategory::kWorkspace);
  const auto category = [&](bool kept) {
    return saved != nullptr && kept ? MemoryCategory::kSaved : MemoryCategory::kWorkspace;
  };
  const bool all = saved != nullptr && recompute_ == Recompute::kNone;
  DecoderLayerSaved made;
  ForwardAttention(AttentionInput(x), context, rope, category(all), made);
  made.residual =
      ForwardOutput(made.attention_out, context, category(recompute_ != Recompute::kFull));
  if (!all) made.FreeInner();
  ForwardGateUp(region_.Enter(AddRmsNormForward(made.residual, x, post_norm_->value, eps_)),
                context, category(all), made);
  const at::Tensor hidden = SwiGluForward(made.gate, made.up);
  if (!all) made.FreeInner();
  // The output is the next layer's saved input.
  at::Tensor y = ForwardAndLeave(down_, hidden, context, category(true)).add_(made.residual);
  if (saved == nullptr) return y;
  made.input = x;
  if (recompute_ == Recompute::kFull) made.residual.reset();
  *saved = std::move(made);
  return y;
}

namespace {

class Recomputing {
 public:
  explicit Recomputing(Nf4Ahead* ahead) : ahead_(ahead) { Set(true); }
  ~Recomputing() { Set(false); }
  Recomputing(const Recomputing&) = delete;
  Recomputing& operator=(const Recomputing&) = delete;

 private:
  void Set(bool on) {
    if (ahead_ != nullptr) ahead_->SetRecomputing(on);
  }
  Nf4Ahead* ahead_;
};

}  // namespace

void DecoderLayer::RecomputeAttention(const MicrobatchContext& context, const RopeTables& rope,
                                      DecoderLayerSaved& saved) const {
  if (saved.q.defined()) return;
  const Recomputing scope(ahead_);
  const at::Tensor input = AttentionInput(saved.input);
  ForwardAttention(input, context, rope, MemoryCategory::kWorkspace, saved);
  if (region_.sequence_parallel() && qkv_.HasTrainable()) saved.attention_input = input;
}

void DecoderLayer::RecomputeMlp(const MicrobatchContext& context, const RopeTables& rope,
                                DecoderLayerSaved& saved) const {
  if (saved.gate.defined()) return;
  const bool residual = saved.residual.defined();
  if (!residual) RecomputeAttention(context, rope, saved);
  const Recomputing scope(ahead_);
  at::Tensor input;
  if (residual) {
    input = MlpInput(saved.residual);
  } else {
    saved.residual = ForwardOutput(saved.attention_out, context, MemoryCategory::kWorkspace);
    input = region_.Enter(AddRmsNormForward(saved.residual, saved.input, post_norm_->value, eps_));
  }
  ForwardGateUp(input, context, MemoryCategory::kWorkspace, saved);
  if (region_.sequence_parallel() && gate_up_.HasTrainable()) saved.mlp_input = input;
}

at::Tensor DecoderLayer::BackwardMlp(const at::Tensor& dy, const MicrobatchContext& context,
                                     DecoderLayerSaved& saved) const {
  const DropoutContext& dropout = context.dropout;
  const double eps = eps_;
  {
    const at::Tensor dfull = region_.Enter(dy);
    at::Tensor dhidden;
    const at::Tensor dlow = down_.BackwardInput({dfull}, dropout, dhidden);
    // From here gate and up hold their gradients.
    const at::Tensor hidden =
        SwiGluBackwardInPlace(dhidden, saved.gate, saved.up, down_.HasTrainable());
    dhidden.reset();
    if (down_.HasTrainable()) down_.BackwardParams({dfull}, dlow, hidden, dropout);
  }
  at::Tensor dx;
  {
    const std::vector<at::Tensor> dgate_up = {std::move(saved.gate), std::move(saved.up)};
    const at::Tensor dlow = gate_up_.BackwardInput(dgate_up, dropout, dx);
    if (gate_up_.HasTrainable()) {
      at::Tensor x = std::move(saved.mlp_input);
      if (!x.defined()) x = MlpInput(saved.residual);
      gate_up_.BackwardParams(dgate_up, dlow, x, dropout);
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
  const int64_t tokens = saved.v.size(0), d = spec_.head_dim;
  at::Tensor dout;
  {
    const at::Tensor dfull = region_.Enter(dresidual);
    const at::Tensor dlow = o_.BackwardInput({dfull}, context.dropout, dout);
    if (o_.HasTrainable()) {
      o_.BackwardParams({dfull}, dlow, saved.attention_out.view({tokens, -1}), context.dropout);
    }
  }
  AttentionGradients grads;
  {
    const auto [q, k] = RotatedQueryKey(saved, context, rope);
    grads = AttentionBackward(dout.view({tokens, -1, d}), q, k, saved.v,
                              {saved.attention_out, saved.lse}, context.layout, Attention());
  }
  RopeInPlace(grads.dq, rope.cos, rope.sin, context.layout.positions, /*inverse=*/true);
  RopeInPlace(grads.dk, rope.cos, rope.sin, context.layout.positions, /*inverse=*/true);
  if (q_norm_ != nullptr) {
    const double eps = eps_;
    grads.dq = RmsNormBackward(grads.dq, saved.q, q_norm_->value, eps, {}, q_norm_->grad);
    grads.dk = RmsNormBackward(grads.dk, saved.k, k_norm_->value, eps, {}, k_norm_->grad);
  }
  grads.dq = grads.dq.view({tokens, -1});
  grads.dk = grads.dk.view({tokens, -1});
  grads.dv = grads.dv.view({tokens, -1});
  return grads;
}

at::Tensor DecoderLayer::Backward(at::Tensor dy, const MicrobatchContext& context,
                                  const RopeTables& rope, DecoderLayerSaved& saved,
                                  bool need_dx) const {
  const MemoryScope workspace(MemoryCategory::kWorkspace);
  const DropoutContext& dropout = context.dropout;
  RecomputeMlp(context, rope, saved);
  const at::Tensor dresidual = BackwardMlp(dy, context, saved);
  dy.reset();
  RecomputeAttention(context, rope, saved);
  AttentionGradients grads = BackwardAttentionCore(dresidual, context, rope, saved);
  const std::vector<at::Tensor> dqkv = {std::move(grads.dq), std::move(grads.dk),
                                        std::move(grads.dv)};
  const at::Tensor input = std::move(saved.input);
  at::Tensor normed = std::move(saved.attention_input);
  saved = {};

  const bool below = need_dx || input_norm_->trainable;
  at::Tensor dx;
  const at::Tensor dlow = below ? qkv_.BackwardInput(dqkv, dropout, dx) : qkv_.BackwardLow(dqkv);
  if (qkv_.HasTrainable()) {
    if (!normed.defined()) normed = AttentionInput(input);
    qkv_.BackwardParams(dqkv, dlow, normed, dropout);
    normed.reset();
  }
  if (!below) return {};
  dx = region_.Leave(std::move(dx));
  return RmsNormBackward(dx, input, input_norm_->value, eps_, dresidual, input_norm_->grad);
}

int64_t KeptBytes(const LayerSpec& layer, const ModelOptions& options, int tp, int64_t tokens) {
  const AttentionSpec& attention = std::get<AttentionSpec>(layer.at(0).body);
  const MlpSpec& mlp = std::get<MlpSpec>(layer.at(1).body);
  const int64_t width = static_cast<int64_t>(c10::elementSize(options.compute));
  const int64_t statistic = options.compute == at::kDouble ? 8 : 4;
  const int64_t rows = options.sequence_parallel ? tokens / tp : tokens;
  const int64_t row_bytes = rows * layer[0].before.size * width;
  if (options.recompute == Recompute::kFull) return row_bytes;
  if (options.recompute == Recompute::kSmart) return 2 * row_bytes;
  const int64_t heads = SliceOf(attention.q, {0, tp}).range.extent / attention.head_dim;
  const int64_t kv_heads = SliceOf(attention.k, {0, tp}).range.extent / attention.head_dim;
  const int64_t per_token =
      2 * (heads + kv_heads) * attention.head_dim + 2 * SliceOf(mlp.gate, {0, tp}).range.extent;
  return 2 * row_bytes + tokens * (per_token * width + heads * statistic);
}

void DecoderLayer::HoldWeights() {
  for (Linears* linears : {&qkv_, &o_, &gate_up_, &down_}) linears->Hold();
}

void DecoderLayer::ReleaseWeights() {
  for (Linears* linears : {&qkv_, &o_, &gate_up_, &down_}) linears->Release();
}

}  // namespace fttrain
