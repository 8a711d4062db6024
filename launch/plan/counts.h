// What a rank does for one microbatch in a layer, and at the ends of the model, in counts:
// products, bytes that kernels read and write, bytes that tensor parallelism sends. Read off the
// model's spec, as model/blocks does it; knows no card. Pure.
#pragma once

#include <string>
#include <vector>

#include "launch/plan/efficiencies.h"
#include "launch/plan/layout.h"

namespace fttrain {

struct Counts {
  double products = 0;     // FLOP of matrix products
  double attention = 0;    // FLOP inside attention
  double streamed = 0;     // bytes of kernels that only read and write
  double dequantized = 0;  // bytes read and written to expand NF4 matrices
  double sent = 0;         // bytes that a rank sends in tp's collectives
  double collectives = 0;  // these, in number
  double exchanged = 0;    // bytes that a rank sends to those of other experts, if all have as many
  double exchanges = 0;    // the all_to_alls of it
  double launches = 0;     // kernels of experts: many, and small where an expert has few tokens
};
Counts operator+(const Counts& a, const Counts& b);
Counts operator*(double times, const Counts& counts);

// Of a layer: forward; what recompute repeats of it; backward without that.
struct LayerCounts {
  Counts forward, again, backward;
};
LayerCounts CountLayer(const LayerSpec& layer, const Task& task, const Layout& layout,
                       const Efficiencies& efficiencies);

// Both passes of the head and the loss, which are one where forward knows the coefficients of the
// losses: they belong to the forward of the last run of layers.
Counts CountHead(const Task& task, const Layout& layout, const Efficiencies& efficiencies);
LayerCounts CountEmbedding(const Task& task, const Layout& layout);

// FLOP of a token that no layout saves: products of the frozen base there and back, of a trained
// one once more, and attention. As the literature counts MFU, without adapters.
double UsefulFlops(const Task& task);

// Tokens of a full microbatch of a rank, as tp pads them.
double MicrobatchTokens(const Task& task, const Layout& layout);

// Of a stored value of a linear's matrix, and of another module's.
double BytesPerElement(const Task& task, const LinearSpec& linear);
double BytesPerElement(const Task& task, const std::string& module);

}  // namespace fttrain
