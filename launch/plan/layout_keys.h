// A layout as the keys of a config that mean it.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "launch/plan/layout.h"

namespace fttrain {

// KEY, VALUE as YAML writes it: those that a layout is told by, without what has its default.
// train.micro_batch_size and gradient_accumulation_steps are always there.
std::vector<std::pair<std::string, std::string>> KeysOf(const Task& task, const Layout& layout,
                                                        MomentStorage moments);

// The same, a line a section: "parallel: {tensor: 2, pipeline: 2}".
std::string YamlOf(const std::vector<std::pair<std::string, std::string>>& keys);

}  // namespace fttrain
