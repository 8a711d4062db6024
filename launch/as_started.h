// Commands in what the program says, as whoever reads it can paste them.
#pragma once

#include <string>

#include "absl/strings/string_view.h"

namespace fttrain {

// The program as this process was started, argv[0]: "build/release/fttrain".
std::string StartedAs();

// `text` with the program's name in commands, "fttrain train run.yaml" or "fttrain --config=x", as
// `program`, quoted where a shell would divide it. The name in other sentences stays.
std::string AsStarted(absl::string_view text, const std::string& program = StartedAs());

}  // namespace fttrain
