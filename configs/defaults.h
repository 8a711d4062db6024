// Defaults stand in the schema, beside their keys ((by_default) in run_config.proto); here are the
// two that others hang on or that hang on another: adapter.method and optimizer.learning_rate.
#pragma once

#include "configs/run_config.pb.h"

namespace fttrain::config {

// Sets every absent field that has a default. Fields without one (paths, train.max_steps and
// num_epochs, adapter.init_from) stay absent, and so do keys that mean nothing for the chosen
// adapter.method: all of adapter.* with none, adapter.quantization without qlora; r, alpha,
// target_modules and use_rslora with init_from, whose they are.
// Idempotent: FillDefaults(FillDefaults(c)) == FillDefaults(c).
void FillDefaults(RunConfig& config);

}  // namespace fttrain::config
