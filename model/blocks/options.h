// What a model is built with.
#pragma once

#include <cstdint>
#include <vector>

#include "model/linears/parameters.h"

namespace fttrain {

// What a layer keeps for Backward, and what Backward makes again (Chen et al., arXiv:1604.06174;
// between the extremes: Korthikanti et al., arXiv:2205.05198, sec. 5). The same functions on the
// same values: on a CPU gradients have the same bits at every level.
enum class Recompute {
  kNone,   // everything that a block's backward reads is kept
  kSmart,  // the inputs of blocks are; all but the last linear of each runs again
  kFull,   // the layer's input is; all but the last linear of the layer runs again
};

// The same on every rank.
struct ModelOptions : ParameterForm {
  bool sequence_parallel = true;
  int64_t loss_chunk_rows = 1024;  // rows of logits alive at a time
  Recompute recompute = Recompute::kNone;
  bool activations_on_host = false;  // what layers keep for backward: in an ActivationStore
  // Layers of every run of the model (network/runs.h), as many runs as the stages have chunks
  // together; a stage's chunks are acquired one at a time (executor.h). Empty: one run a stage,
  // balanced.
  std::vector<int> layers_per_run;
  // Whether weights lie at the same place all the time: what is read ahead may be kept by it.
  bool weights_stay = true;
  bool embedding_on_host = false;  // the frozen table stays in host memory, rows are gathered there
  // Of a full microbatch: those that a rehearsal takes to come from other ranks, whose experts are
  // divided, where it knows its own alone.
  int64_t microbatch_tokens = 0;
};

}  // namespace fttrain
