// Checks that need several keys, or the number of ranks, and nothing else: no files, no devices.
// What needs the model's config.json (heads against parallel.tensor) is checked where that is read.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "configs/load_config.h"
#include "configs/run_config.pb.h"

namespace fttrain::config {

// `config` has its defaults (defaults.h). Refuses, as InvalidArgument, every contradiction at once,
// one a line with the arithmetic in it, and by name everything the schema has words for but this
// build cannot do (see unsupported.cc). `where` puts "file:line: " before a line whose key was
// written; `filename` is the one in the mpirun lines proposed.
absl::Status Validate(const RunConfig& config, int world_size, const KeyLocations& where = {},
                      const std::string& filename = "run.yaml");

inline absl::Status Validate(const LoadedConfig& loaded, int world_size) {
  return Validate(loaded.config, world_size, loaded.where, loaded.filename);
}

}  // namespace fttrain::config
