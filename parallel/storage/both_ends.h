// Parameters that the first and the last stage of a pipeline both hold: tied embeddings.
#pragma once

#include "parallel/storage/flat_parameters.h"
#include "runtime/comm/communicator.h"

namespace fttrain {

// Makes each such gradient the sum of the two stages', the same bits on both, which then update it
// alike; of what the buffer keeps of it (which must be the same range on both: under ZeRO 2 and 3
// such parameters are in groups of their own). Each of the two sends the gradients' bytes once;
// other stages do nothing. The first and the last stage call with the same such parameters, in the
// same order.
void SumOverBothEnds(const FlatBuffer& flat, Communicator& pp);

}  // namespace fttrain
