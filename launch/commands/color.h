// --color of the commands that have it.
#pragma once

#include "absl/status/statusor.h"
#include "launch/command_line.h"

namespace fttrain {

// Whether to colour: of `auto` where stdout is a terminal that shows colours and NO_COLOR does not
// forbid it. InvalidArgument for another word than auto, always and never.
absl::StatusOr<bool> WantsColor(const CommandLine& line);

}  // namespace fttrain
