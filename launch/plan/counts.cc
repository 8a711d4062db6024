#include "launch/plan/counts.h"

#include <algorithm>
#include <variant>

#include "model/blocks/latent_attention.h"
#include "model/config/alike_linears.h"
#include "model/linears/expert_factors.h"

namespace fttrain {
namespace {

constexpr double kGradientBytes = 4;  // float32
// Attention backward makes the scores again and forms four products for forward's two.
constexpr double kAttentionBackward = 2.5;

// Counts of one layer as a rank of tp meets it.
class LayerCounter {
 public:
  LayerCounter(const LayerSpec& layer, const Task& task, const Layout& layout,
               const Efficiencies& efficiencies)
      : layer_(layer),
        task_(task),
        layout_(layout),
        efficiencies_(efficiencies),
        tp_(layout.mesh.tp),
        ep_(layout.mesh.ep),
        sequence_parallel_(layout.sequence_parallel && tp_ > 1),
        tokens_(MicrobatchTokens(task, layout)),
        width_(static_cast<double>(c10::elementSize(task.form.compute))),
        stream_bytes_(tokens_ / (sequence_parallel_ ? tp_ : 1) *
                      static_cast<double>(StreamWidth(layer.front())) * width_) {
    for (const BlockSpec& block : layer) linears_.push_back(AlikeLinearsByInput(block));
  }

  LayerCounts Count() const {
    LayerCounts counts;
    for (size_t i = 0; i < layer_.size(); ++i) {
      const bool last = i + 1 == layer_.size();
      const Counts inner = ForwardInner(i), output = ForwardOutput(i);
      counts.forward = counts.forward + inner + output;
      counts.backward = counts.backward + Backward(i);
      const bool repeats_output =
          (layout_.recompute == Recompute::kFull && !last) || efficiencies_.whole_layers_again;
      if (layout_.recompute == Recompute::kNone) continue;
      counts.again = counts.again + inner;
      if (repeats_output) counts.again = counts.again + output;
    }
    counts.forward.streamed += efficiencies_.fused ? 3 * stream_bytes_ : 0;  // the last sum
    return counts;
  }

 private:
  struct Sizes {
    double in = 0, out = 0, packed = 0, rank = 0;
    double factor_in = 0;  // of the adapter's first factor, which parts of a module share
  };

  // Of a rank's slice.
  Sizes SizesOf(const LinearSpec& linear) const {
    const auto extent = static_cast<double>(SliceOf(linear, {0, tp_}).range.extent);
    const bool column = !linear.splits_input();
    Sizes sizes{column ? static_cast<double>(linear.in) : extent,
                column ? extent : static_cast<double>(linear.out)};
    if (task_.form.Nf4Of(linear)) {
      sizes.packed = sizes.in * sizes.out * BytesPerElement(task_, linear);
    }
    if (const auto adapter = task_.form.AdapterOf(linear)) {
      sizes.rank = static_cast<double>(adapter->r);
      sizes.factor_in = HasFactorA(linear) ? sizes.in : 0;
    }
    return sizes;
  }

  // Of those that read one input, which has so many rows.
  double RowsOf(const std::vector<LinearSpec>& linears) const {
    return tokens_ * linears.front().token_share;
  }

  // Expanded once, as every pass needs it. Hardly an expert is without a token.
  double Expanded(const LinearSpec& linear, const Sizes& sizes) const {
    return sizes.packed > 0 ? (sizes.packed + sizes.in * sizes.out * width_) * HeldOf(linear) : 0;
  }

  // What a rank has of an expert, on average: the rows of all are divided as the experts are.
  double HeldOf(const LinearSpec& linear) const {
    return linear.role == LinearRole::kExpert ? 1.0 / ep_ : 1.0;
  }

  // Tokens that go to their experts' ranks, or come back, `of_tokens` each time; and `of_places`
  // times a number for each: a share or its gradient.
  Counts Exchanged(size_t i, double of_tokens, double of_places, double place_bytes) const {
    const auto* moe = std::get_if<MoeSpec>(&layer_[i].body);
    if (moe == nullptr || ep_ == 1) return {};
    const double places = tokens_ * static_cast<double>(moe->top_k) * (ep_ - 1) / ep_;
    const double row_bytes = static_cast<double>(moe->router.in) * width_;
    return {.exchanged = places * (of_tokens * row_bytes + of_places * place_bytes),
            .exchanges = of_tokens + of_places};
  }

  Counts Forward(const std::vector<LinearSpec>& linears) const {
    Counts counts;
    double read = 0;
    const double rows = RowsOf(linears);
    for (const LinearSpec& linear : linears) {
      const Sizes sizes = SizesOf(linear);
      counts.products +=
          2 * rows * (sizes.in * sizes.out + sizes.rank * (sizes.factor_in + sizes.out));
      counts.dequantized += Expanded(linear, sizes);
      if (sizes.rank == 0) continue;
      // The second factor's product is added to the linear's; unfused it is made, and then added.
      counts.streamed += rows * width_ * (efficiencies_.fused ? 2 : 4) * sizes.out;
      read = efficiencies_.fused ? sizes.in : read + sizes.factor_in;
    }
    counts.streamed += rows * width_ * read;
    return counts;
  }

  Counts Backward(const std::vector<LinearSpec>& linears) const {
    Counts counts;
    double inputs = 0;
    const double rows = RowsOf(linears);
    for (const LinearSpec& linear : linears) {
      const Sizes sizes = SizesOf(linear);
      const double elements = sizes.in * sizes.out;
      counts.products += 2 * rows * (elements + sizes.rank * (3 * sizes.factor_in + 2 * sizes.out));
      counts.dequantized += Expanded(linear, sizes);
      if (task_.form.train_base) {
        counts.products += 2 * rows * elements;
        counts.streamed += 2 * kGradientBytes * elements * HeldOf(linear);
      }
      if (sizes.rank == 0) continue;
      inputs = sizes.in;  // dx is added to, x is read for both factors' gradients
      counts.streamed += rows * width_ * 2 * sizes.out;
    }
    counts.streamed += rows * width_ * 4 * inputs;
    return counts;
  }

  // What stands between a block's linears.
  Counts Middle(const BlockSpec& block, bool backward) const {
    Counts counts;
    if (const auto* attention = std::get_if<AttentionSpec>(&block.body)) {
      const double q = SizesOf(attention->q).out, k = SizesOf(attention->k).out;
      const double turns = (attention->rope < 0   ? 0
                            : efficiencies_.fused ? 1
                                                  : 3) +
                           (attention->q_norm ? 1 : 0);
      counts.streamed = 2 * (q + k) * turns;
      counts.attention = 4 * PairsOf(attention->window) * q * (backward ? kAttentionBackward : 1);
    } else if (const auto* latent = std::get_if<LatentAttentionSpec>(&block.body)) {
      // What turns, and heads that are put together and padded, or taken apart.
      const double q = SizesOf(latent->q).out, kv = SizesOf(latent->kv_b).out;
      const double heads = q / static_cast<double>(latent->qk_dim());
      const double padded = heads * static_cast<double>(PaddedHeadDim(*latent));
      counts.streamed = 2 * (q + kv) + (backward ? 10 : 4) * padded;
      counts.attention = 4 * PairsOf(0) * padded * (backward ? kAttentionBackward : 1);
    } else if (const auto* moe = std::get_if<MoeSpec>(&block.body)) {
      // Rows are gathered, scaled and added where they belong; forth and back twice each.
      const double ffn = SizesOf(moe->experts.front().up).out;
      const auto hidden = static_cast<double>(moe->router.in);
      counts.streamed = static_cast<double>(moe->top_k) *
                        (ffn * (backward ? 14 : 6) + hidden * (backward ? 7 : 5));
      // Of each expert with a token its rows are added and, where its matrices are expanded, each
      // is so and multiplied; all else is of experts together, with about two thirds of as many
      // rows as there are tokens (MoeBlock).
      const double experts = std::min(static_cast<double>(moe->num_experts()),
                                      tokens_ * static_cast<double>(moe->top_k)) /
                             ep_;
      const double batches = std::min(experts, 1.5 * static_cast<double>(moe->top_k));
      const LinearSpec& up = moe->experts.front().up;
      const bool expands = task_.form.Nf4Of(up).has_value();
      // Gradients of what is trained are of one expert after the other.
      const int gradients = task_.form.train_base ? 3 : task_.form.AdapterOf(up) ? 11 : 0;
      counts.launches = experts * ((expands ? 7 : 1) + (backward ? gradients : 0)) +
                        batches * ((backward ? 9 : 3) + (expands ? 0 : 6));
    } else {
      const double ffn = SizesOf(std::get<MlpSpec>(block.body).up).out;
      counts.streamed = ffn * (backward ? 6 : efficiencies_.fused ? 3 : 5);
    }
    counts.streamed *= tokens_ * width_;
    return counts;
  }

  // Keys that a token sees, over all tokens of a microbatch of full rows.
  double PairsOf(int64_t window_tokens) const {
    const auto length = static_cast<double>(task_.rows.sequence_len);
    const double window =
        window_tokens > 0 ? std::min(static_cast<double>(window_tokens), length) : length;
    return tokens_ * (window - window * (window - 1) / (2 * length));
  }

  // Of the linears that end a block, or of all others.
  Counts Forward(size_t i, bool output) const {
    Counts counts;
    for (const auto& [linears, times] : linears_[i]) {
      if (linears.front().splits_input() != output) continue;
      counts = counts + static_cast<double>(times) * Forward(linears);
    }
    return counts;
  }

  // A gather or its mirror image; all_reduce is both.
  double HalfBytes() const {
    return tokens_ * static_cast<double>(StreamWidth(layer_.front())) * width_ * (tp_ - 1) / tp_;
  }
  Counts Enter() const {
    return sequence_parallel_ ? Counts{.sent = HalfBytes(), .collectives = 1} : Counts{};
  }
  Counts Leave() const {
    if (tp_ == 1) return {};
    return {.sent = HalfBytes() * (sequence_parallel_ ? 1 : 2), .collectives = 1};
  }

  // With the norm before it, and the sum that the norm takes along.
  Counts ForwardInner(size_t i) const {
    Counts counts = Middle(layer_[i], /*backward=*/false) + Exchanged(i, 1, 1, width_);
    if (!layer_[i].beside) {
      counts = counts + Enter();
      counts.streamed += stream_bytes_ * (!efficiencies_.fused ? 7 : i == 0 ? 2 : 4);
    }
    return counts + Forward(i, /*output=*/false);
  }
  Counts ForwardOutput(size_t i) const {
    Counts counts = Leave() + Exchanged(i, 1, 0, 0) + Forward(i, /*output=*/true);
    if (layer_[i].after) counts.streamed += stream_bytes_ * (efficiencies_.fused ? 2 : 6);
    return counts;
  }

  Counts Backward(size_t i) const {
    Counts counts = Middle(layer_[i], /*backward=*/true) + Enter() + Leave();
    const auto share_bytes = static_cast<double>(c10::elementSize(FactorDtype(task_.form.compute)));
    counts = counts + Exchanged(i, TrainsExperts(i) ? 3 : 2, 1, share_bytes);
    bool adapted = task_.form.train_base;
    for (const auto& [linears, times] : linears_[i]) {
      counts = counts + static_cast<double>(times) * Backward(linears);
      for (const LinearSpec& linear : linears) adapted |= SizesOf(linear).rank > 0;
    }
    // The normed input is made again for what is trained, and kept where recompute has made it.
    counts.streamed +=
        stream_bytes_ * (adapted ? 6 : 4) + (layer_[i].after ? 3 * stream_bytes_ : 0);
    if (adapted && layout_.recompute == Recompute::kNone) counts = counts + Enter();
    if (!efficiencies_.fused) counts.streamed = 1.6 * Unfused(i);
    return counts;
  }
  // Whether a backward needs the input of the first matrices of experts, too.
  bool TrainsExperts(size_t i) const {
    const auto* moe = std::get_if<MoeSpec>(&layer_[i].body);
    if (moe == nullptr) return false;
    return task_.form.train_base || task_.form.AdapterOf(moe->experts.front().gate).has_value();
  }

  // What a forward's kernels move where nothing is fused, which a backward moves 1.6 times.
  double Unfused(size_t i) const { return ForwardInner(i).streamed + ForwardOutput(i).streamed; }

  const LayerSpec& layer_;
  std::vector<std::vector<AlikeLinears>> linears_;  // of each block
  const Task& task_;
  const Layout& layout_;
  const Efficiencies& efficiencies_;
  int tp_, ep_;
  bool sequence_parallel_;
  double tokens_, width_;
  double stream_bytes_;  // of a pass over what goes from block to block
};

}  // namespace

Counts operator+(const Counts& a, const Counts& b) {
  return {a.products + b.products,       a.attention + b.attention, a.streamed + b.streamed,
          a.dequantized + b.dequantized, a.sent + b.sent,           a.collectives + b.collectives,
          a.exchanged + b.exchanged,     a.exchanges + b.exchanges, a.launches + b.launches};
}

Counts operator*(double times, const Counts& counts) {
  return {times * counts.products,    times * counts.attention, times * counts.streamed,
          times * counts.dequantized, times * counts.sent,      times * counts.collectives,
          times * counts.exchanged,   times * counts.exchanges, times * counts.launches};
}

LayerCounts CountLayer(const LayerSpec& layer, const Task& task, const Layout& layout,
                       const Efficiencies& efficiencies) {
  return LayerCounter(layer, task, layout, efficiencies).Count();
}

}  // namespace fttrain
