// What blocks are told about a microbatch.
#pragma once

#include <vector>

#include "model/blocks/key_value_cache.h"
#include "model/config/spec.h"
#include "model/kernels/sequence_layout.h"
#include "model/linears/linears.h"

namespace fttrain {

class RouterBalance;

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
  // Of a step with the routers' loss (router_balance.h), of forwards that a backward follows; it
  // outlives both. Null: there is none.
  RouterBalance* balance = nullptr;
};

// cos and sin [max_positions, R/2] of one of the model's rotary embeddings, times its attention
// factor, float32 (float64 in float64 compute). One with a long form has twice the rows, those of
// the long form behind the others.
struct RopeTable {
  at::Tensor cos, sin;
  bool interleaved = false;
  int64_t long_from = 0;  // documents of more tokens take the long form; 0: there is none
  int64_t positions() const { return long_from > 0 ? cos.size(0) / 2 : cos.size(0); }
  // Whether a microbatch of this layout takes the long form: its longest document decides for all.
  bool TakesLong(const SequenceLayout& layout) const {
    return long_from > 0 && layout.max_document_tokens > long_from;
  }
};
using RopeTables = std::vector<RopeTable>;  // by AttentionSpec::rope
RopeTables MakeRopeTables(const std::vector<RopeSpec>& ropes, int64_t max_positions,
                          at::ScalarType compute, c10::Device device);

struct BlockContext {
  const MicrobatchContext& batch;
  const RopeTables& ropes;
};

}  // namespace fttrain
