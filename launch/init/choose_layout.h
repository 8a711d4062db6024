// The layout of a run that is yet to be written down.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "launch/plan/layout.h"

namespace fttrain {

struct ChosenLayout {
  int ranks = 1;
  std::vector<std::pair<std::string, std::string>> keys = {};  // as Starter::layout
  std::string why;                                             // a sentence without its end
};

// For the machines that `rig` names, or, if it is empty, for this machine's GPUs, one replica each,
// or its CPU. `task` and `plain` are the run's on one rank. InvalidArgument for a rig that is none,
// and where nothing fits it.
absl::StatusOr<ChosenLayout> ChooseLayout(const Task& task, const Layout& plain,
                                          const std::string& rig);

}  // namespace fttrain
