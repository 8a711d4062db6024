// How long the stages of a pipeline wait for each other.
#pragma once

#include <string>

#include "launch/plan/layout.h"

namespace fttrain {

// The share of a step in which a stage does nothing, of all stages together, where every chunk and
// message takes as long as every other. 0 of one stage. `layout` fits the task (CheckLayout).
double IdleShare(const Task& task, const Layout& layout);

// A line where a step has fewer microbatches than there are stages: that share, and the key that
// lowers it. Empty otherwise.
std::string IdleWarning(const Task& task, const Layout& layout);

}  // namespace fttrain
