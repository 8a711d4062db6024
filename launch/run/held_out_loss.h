// The loss of rows that are not learnt, in every layout that trains.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

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

// The sum of token losses of microbatches, as many on every rank, by forwards alone and without
// dropout, in the order in which the layout's steps take them: a float64 scalar on the device, the
// caller's own, the same on all ranks. Collective over the mesh.
at::Tensor SumOfLosses(Network& network, std::vector<ModelBatch> batches);

// The same of the rows that step `step` takes of those that are held out.
at::Tensor SumOfStep(Network& network, RowStream& rows, int64_t step);

// Of one epoch of `rows`, which ends after it (RowStream::EndAfterEpochs) and has a target.
// Forwards alone, without dropout, in microbatches and on stages as a step's; of the model nothing
// changes. Collective over the mesh; every rank has the same numbers.
HeldOutLoss EvaluateHeldOut(Network& network, RowStream& rows);
// The same; nothing once `goes_on`, which is asked before each step of them and says the same on
// every rank, says no.
std::optional<HeldOutLoss> EvaluateHeldOut(Network& network, RowStream& rows,
                                           const std::function<bool()>& goes_on);

}  // namespace fttrain
