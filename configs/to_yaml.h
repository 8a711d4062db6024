// RunConfig -> YAML: what --print-config shows and config.yaml of an output folder holds.
#pragma once

#include <string>

#include "configs/run_config.pb.h"

namespace fttrain::config {

// Every present field, in the schema's order. ParseRunConfig of the result gives an equal message.
std::string ToYaml(const RunConfig& config);

}  // namespace fttrain::config
