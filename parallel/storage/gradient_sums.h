// Sums of gradients over the ranks that hold the same parameter, over tp and over the ends of a
// pipeline.
#pragma once

#include "parallel/layout/mesh.h"
#include "parallel/storage/flat_parameters.h"

namespace fttrain {

// `gradients` [flat.numel()], of which the parameters' `grad` are views: those that each tp rank
// has in part become their sums. One all_reduce of the kPartial range, one of the whole kShared
// tensors. Collective over tp.
void SumOverTp(const FlatBuffer& flat, const at::Tensor& gradients, Communicator& tp);

// Gradients of parameters that the first and the last stage of a pipeline both hold (tied
// embeddings) become the sum of the two stages', the same bits on both, which then update alike; of
// what is `owned` of them (the same range on both: such parameters have buffers of their own). Each
// of the two sends the gradients' bytes once; other stages do nothing. The first and the last stage
// call with the same such parameters, in the same order.
void SumOverBothEnds(const FlatBuffer& flat, FlatRange owned, Communicator& pp);

// The parts of the buffer [0, numel) that this rank counts in the norm of the whole model, of the
// shard that it owns, as few maximal ranges: each parameter counts once however many ranks hold
// it.
std::vector<FlatRange> CountedRanges(const FlatBuffer& flat, const Mesh& mesh);

// Throws c10::Error if the set has a kShared slice that the tp ranks cannot hold equally often.
void CheckShared(const ParameterSet& set, int tp_size);

}  // namespace fttrain
