// The counts of both ends of a model, and of numbers that are not a layer's.
#include <algorithm>
#include <optional>

#include "launch/plan/counts.h"
#include "runtime/math/ceil_divide.h"

namespace fttrain {
namespace {

constexpr double kGradientBytes = 4;  // float32

Counts Sent(double bytes, double collectives) {
  return {.sent = bytes, .collectives = bytes > 0 ? collectives : 0};
}

double BytesPerElement(const Task& task, const std::optional<Nf4Options>& nf4) {
  if (!nf4) return static_cast<double>(c10::elementSize(task.form.compute));
  const double scale = nf4->double_quant ? 1 + 4.0 / kNf4Group : 4;
  return 0.5 + scale / static_cast<double>(nf4->block_size);
}

}  // namespace

double BytesPerElement(const Task& task, const LinearSpec& linear) {
  if (linear.float32) return static_cast<double>(c10::elementSize(FactorDtype(task.form.compute)));
  return BytesPerElement(task, task.form.Nf4Of(linear));
}

double BytesPerElement(const Task& task, const std::string& module) {
  return BytesPerElement(task, task.form.Nf4Of(module));
}

double MicrobatchTokens(const Task& task, const Layout& layout) {
  return static_cast<double>(
      RoundUp(layout.micro_batch_rows * task.rows.sequence_len, layout.mesh.tp));
}

Counts CountHead(const Task& task, const Layout& layout, const Efficiencies& efficiencies) {
  const int tp = layout.mesh.tp;
  const double tokens = MicrobatchTokens(task, layout);
  const auto width = static_cast<double>(c10::elementSize(task.form.compute));
  const auto hidden = static_cast<double>(task.model.hidden_size);
  const auto vocabulary = static_cast<double>(CeilDivide(task.model.vocab_size, int64_t{tp}));
  const bool trained = task.form.train_base;
  Counts counts;
  counts.products = (trained ? 6 : 4) * tokens * hidden * vocabulary;
  // Logits are read for their sum, read and overwritten by their gradients.
  counts.streamed = tokens * vocabulary * (3 * width + (efficiencies.logits_in_parts ? 0 : 12)) +
                    6 * tokens * hidden * width;
  if (trained) {
    const double parts = std::max(1.0, tokens / static_cast<double>(layout.loss_chunk_rows));
    counts.streamed += parts * 2 * kGradientBytes * hidden * vocabulary;
  }
  if (!task.model.head.tied && task.form.Nf4Of(task.model.head.name)) {
    counts.dequantized =
        hidden * vocabulary * (BytesPerElement(task, task.model.head.name) + width);
  }
  return counts + Sent(2 * tokens * hidden * width * (tp - 1) / tp, 2);
}

LayerCounts CountEmbedding(const Task& task, const Layout& layout) {
  const int tp = layout.mesh.tp;
  const bool halves = layout.sequence_parallel && tp > 1;
  const double bytes = MicrobatchTokens(task, layout) *
                       static_cast<double>(task.model.hidden_size) *
                       static_cast<double>(c10::elementSize(task.form.compute));
  const double half = bytes * (tp - 1) / tp;
  LayerCounts counts;
  counts.forward = Sent(half * (halves ? 1 : 2), 1);
  counts.forward.streamed = 2 * bytes;
  if (!task.form.train_base) return counts;
  counts.backward = Sent(halves ? half : 0, 1);
  counts.backward.streamed = 5 * bytes;  // its gradient is float32
  return counts;
}

double UsefulFlops(const Task& task) {
  Task plain = task;
  plain.form.adapter.reset();
  plain.form.nf4.reset();
  const Layout one;
  double flops = 0;
  for (const LayerSpec& layer : task.model.layers) {
    const LayerCounts counts = CountLayer(layer, plain, one, {});
    flops += counts.forward.products + counts.backward.products + counts.forward.attention +
             counts.backward.attention;
  }
  return (flops + CountHead(plain, one, {}).products) / MicrobatchTokens(plain, one);
}

}  // namespace fttrain
