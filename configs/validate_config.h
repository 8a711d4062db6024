// Checks that need several keys, or the number of ranks, and nothing else: no files, no devices.
// What needs the model's config.json (heads against parallel.tensor) is checked where that is read.
#pragma once

#include "absl/status/status.h"
#include "configs/load_config.h"

namespace fttrain::config {

// Refuses, as InvalidArgument, every contradiction at once, one a line with the arithmetic in it.
// "file:line: " stands before a line whose key was written. Ranks that the layout does not fit are
// answered with the command as it was given, on as many ranks as it fits.
absl::Status Validate(const LoadedConfig& loaded, int world_size);

}  // namespace fttrain::config
