// The loss of rows that are not learnt, in every layout that trains.
#pragma once

#include <cstdint>

#include "data/packing/packer.h"
#include "launch/run/network.h"

namespace fttrain {

struct HeldOutLoss {
  double loss = 0;  // sum of token losses / target tokens, over all ranks
  int64_t rows = 0, tokens = 0, target_tokens = 0;
  double seconds = 0;

  double Perplexity() const;
  double TokensPerSecond() const { return seconds > 0 ? static_cast<double>(tokens) / seconds : 0; }
};

// Of one epoch of `rows`, which ends after it (RowStream::EndAfterEpochs) and has a target. Forwards
// alone, without dropout, in microbatches and on stages as a step's; of the model nothing changes.
// What the network holds beside its weights is less than in a step. Collective over the mesh; every
// rank has the same numbers.
HeldOutLoss EvaluateHeldOut(Network& network, RowStream& rows);

}  // namespace fttrain
