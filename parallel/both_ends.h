// Parameters that the first and the last stage of a pipeline both hold: tied embeddings.
#pragma once

#include "parallel/flat_parameters.h"
#include "runtime/communicator.h"

namespace fttrain {

// Makes each such gradient the sum of the two stages', the same bits on both, which then update it
// alike. Each of the two sends the gradients' bytes once; other stages do nothing. The first and
// the last stage call with the same such parameters, in the same order.
void SumOverBothEnds(const FlatBuffer& flat, Communicator& pp);

}  // namespace fttrain
