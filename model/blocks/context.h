// What blocks are told about a microbatch.
#pragma once

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
