// What the schema has words for and this build cannot do yet.
#pragma once

#include <string>
#include <vector>

#include "configs/run_config.pb.h"

namespace fttrain::config {

struct Unsupported {
  std::string key;   // "parallel.zero_stage"
  std::string what;  // "parallel.zero_stage 2 is not implemented; use 0 or 1"
};

// Everything `config` (with defaults) asks for that this build cannot do; empty if it can do it
// all.
std::vector<Unsupported> FindUnsupported(const RunConfig& config);

}  // namespace fttrain::config
