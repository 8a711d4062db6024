// What blocks are told about a microbatch.
#pragma once

#include <vector>

#include "model/blocks/key_value_cache.h"
#include "model/config/spec.h"
#include "model/kernels/sequence_layout.h"
#include "model/linears/linears.h"

namespace fttrain {

// Everything about one microbatch that layers need.
struct MicrobatchContext {
  SequenceLayout layout;
  DropoutContext dropout;
  // False: the base model alone, as a reference. Nothing is kept for a backward then.
  bool adapters = true;
  // Where generation keeps the keys and values of each document of `layout`, whose positions are
  // then those in the whole document; they outlive the forward. Empty: nothing is kept, documents
  // are whole. A null one is of padding, which is a document of one token.
  std::vector<DocumentCache*> caches = {};
};

// cos and sin [max_positions, D/2] of the model's rope, times its attention factor, float32
// (float64 in float64 compute).
struct RopeTables {
  at::Tensor cos, sin;
};
RopeTables MakeRopeTables(const RopeSpec& rope, int64_t max_positions, at::ScalarType compute,
                          c10::Device device);

struct BlockContext {
  const MicrobatchContext& batch;
  const RopeTables& rope;
};

}  // namespace fttrain
