// RunConfig -> YAML: what --print-config shows and config.yaml of an output folder holds.
#pragma once

#include <string>

#include "configs/run_config.pb.h"

namespace fttrain::config {

enum class Comments { kNone, kSchema };

// Every present field, in the schema's order; with kSchema, each key stands below its comment of
// run_config.proto. ParseRunConfig of the result gives an equal message.
std::string ToYaml(const RunConfig& config, Comments comments = Comments::kNone);

}  // namespace fttrain::config
