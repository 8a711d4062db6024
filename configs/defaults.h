// The one place where a default is written down.
#pragma once

#include "configs/run_config.pb.h"

namespace fttrain::config {

// Sets every absent field that has a default. Fields without one (paths, train.max_steps and
// num_epochs, adapter.init_from) stay absent, and so do keys that mean nothing for the chosen
// adapter.method: all of adapter.* with none, adapter.quantization without qlora.
// Idempotent: FillDefaults(FillDefaults(c)) == FillDefaults(c).
void FillDefaults(RunConfig& config);

}  // namespace fttrain::config
