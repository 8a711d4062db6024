// The dry run: everything that a run does, once, on a few of its rows.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "configs/load_config.h"
#include "launch/check/report.h"
#include "runtime/process/process.h"

namespace fttrain {

struct CheckOptions {
  int64_t rows = 32;                       // of each file of data.train, the first
  std::vector<std::string> accepted = {};  // rows.h
};

// Reads rows, plans, builds the job in the config's layout, trains three steps, saves after the
// second, gives the job up and goes on from there in a new one, which must come to the same third
// step; evaluates; writes the result and reads it again, which must give the same logits. Steps
// have fewer microbatches than the run's where it has many. Writes in a folder of its own, which is
// removed, also after an error. Ends at the first stage that fails, with its error, agreed on;
// Aborted where numbers are not what they must be. `report` has what was seen until then: `peaks`,
// warnings and speed on rank 0 alone. Collective over the world.
absl::Status Check(const config::LoadedConfig& loaded, const CheckOptions& options,
                   const Process& process, CheckReport& report);

}  // namespace fttrain
