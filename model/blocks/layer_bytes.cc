// The arithmetic of a layer's bytes.
#include <c10/util/accumulate.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "model/blocks/decoder_layer.h"
#include "model/blocks/latent_attention.h"

namespace fttrain {
namespace {

AttentionShape LatentShapeOf(const LatentAttentionSpec& attention, int tp, AttentionShape shape) {
  shape.head_dim = PaddedHeadDim(attention);
  shape.heads = shape.kv_heads = SliceOf(attention.q, {0, tp}).range.extent / attention.qk_dim();
  return shape;
}

// Of keys, values and results as attention sees them, and of all gradients, at once in a backward.
int64_t ExpandedBytes(const AttentionShape& shape) {
  return 7 * shape.tokens * shape.heads * shape.head_dim *
         static_cast<int64_t>(c10::elementSize(shape.type));
}

// Calls `work` with the shape of each attention of the layer on one of tp ranks, and whether it is
// expanded from latents.
template <typename Work>
void ForAttention(const LayerSpec& layer, at::ScalarType compute, int tp,
                  const AttentionShape& microbatch, const Work& work) {
  for (const BlockSpec& block : layer) {
    AttentionShape shape = microbatch;
    shape.type = compute;
    if (const auto* latent = std::get_if<LatentAttentionSpec>(&block.body)) {
      work(LatentShapeOf(*latent, tp, shape), /*expanded=*/true);
      continue;
    }
    const auto* attention = std::get_if<AttentionSpec>(&block.body);
    if (attention == nullptr) continue;
    shape.head_dim = attention->head_dim;
    shape.heads = SliceOf(attention->q, {0, tp}).range.extent / shape.head_dim;
    shape.kv_heads = SliceOf(attention->k, {0, tp}).range.extent / shape.head_dim;
    shape.window = attention->window;
    shape.capped = attention->soft_cap > 0;
    work(shape, /*expanded=*/false);
  }
}

}  // namespace

int64_t KeptBytes(const LayerSpec& layer, const ModelOptions& options, int tp, int64_t tokens) {
  const int64_t width = static_cast<int64_t>(c10::elementSize(options.compute));
  const int64_t rows = options.sequence_parallel ? tokens / tp : tokens;
  int64_t bytes = 0;
  for (size_t i = 0; i < layer.size(); ++i) {
    const int64_t row_bytes = rows * StreamWidth(layer[i]) * width;
    const bool inputs = options.recompute != Recompute::kFull;
    if (!layer[i].beside && (i == 0 || inputs)) bytes += row_bytes;
    if (layer[i].after && inputs) bytes += row_bytes;
    if (options.recompute != Recompute::kNone) continue;
    for (const SavedTensor& each : NewSaved(layer[i], {0, tp}, options.compute)->Inner(tokens)) {
      bytes +=
          c10::multiply_integers(each.sizes) * static_cast<int64_t>(c10::elementSize(each.dtype));
    }
  }
  return bytes;
}

int64_t MostKeptBytes(const std::vector<LayerSpec>& layers, const ModelOptions& options, int tp,
                      int64_t tokens) {
  int64_t most = 0;
  for (const LayerSpec& layer : layers) {
    most = std::max(most, KeptBytes(layer, options, tp, tokens));
  }
  return most;
}

int64_t AttentionWorkspace(const LayerSpec& layer, at::ScalarType compute, int tp,
                           AttentionShape microbatch, bool deterministic) {
  int64_t most = 0;
  ForAttention(layer, compute, tp, microbatch, [&](const AttentionShape& shape, bool expanded) {
    most = std::max(
        most, CudaAttentionWorkspace(shape, deterministic) + (expanded ? ExpandedBytes(shape) : 0));
  });
  return most;
}

std::string PlainAttention(const std::vector<LayerSpec>& layers, at::ScalarType compute) {
  int64_t plain = 0;
  std::string why;
  for (const LayerSpec& layer : layers) {
    ForAttention(layer, compute, /*tp=*/1, {}, [&](const AttentionShape& shape, bool) {
      const std::string reason = PlainAttentionReason(shape);
      if (reason.empty()) return;
      ++plain;
      why = reason;
    });
  }
  if (plain == 0) return "";
  return absl::StrCat("of ", plain, " of ", layers.size(),
                      " layers by plain products, not flash attention: ", why);
}

std::string PaddedAttention(const std::vector<LayerSpec>& layers) {
  int64_t padded = 0;
  std::string sizes;
  for (const LayerSpec& layer : layers) {
    for (const BlockSpec& block : layer) {
      const auto* latent = std::get_if<LatentAttentionSpec>(&block.body);
      if (latent == nullptr) continue;
      const int64_t to = PaddedHeadDim(*latent);
      if (to == latent->qk_dim() && to == latent->v_dim) continue;
      ++padded;
      sizes = absl::StrCat("queries and keys of ", latent->qk_dim(), ", values of ", latent->v_dim,
                           ", padded to ", to);
    }
  }
  if (padded == 0) return "";
  return absl::StrCat("of ", padded, " of ", layers.size(),
                      " layers with heads of one size: ", sizes);
}

std::string SinkAttention(const std::vector<LayerSpec>& layers) {
  int64_t with = 0;
  for (const LayerSpec& layer : layers) {
    for (const BlockSpec& block : layer) {
      const auto* attention = std::get_if<AttentionSpec>(&block.body);
      with += attention != nullptr && !attention->sinks.empty();
    }
  }
  if (with == 0) return "";
  return absl::StrCat("of ", with, " of ", layers.size(),
                      " layers has sinks: outputs are scaled by what these leave, by the "
                      "log-sum-exp that flash attention gives");
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
