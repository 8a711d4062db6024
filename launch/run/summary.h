// What rank 0 says before the first step.
#pragma once

#include <string>

#include "data/packing/packer.h"
#include "launch/run/network.h"
#include "launch/run/trainer.h"
#include "launch/run/weights.h"

namespace fttrain {

// Several lines: model, mesh and which layers and ranks a stage has, trainable parameters in PEFT's
// words, the form of a quantised base and what of it is not quantised, data, global batch.
std::string StartSummary(const NetworkPlan& plan, const ParameterCounts& parameters,
                         const DatasetSummary& data, const TrainerOptions& trainer,
                         int64_t sequence_len, int zero_stage);

// One line: the bytes of each category that the process holds now, by the ledger.
std::string HeldSummary();

}  // namespace fttrain
