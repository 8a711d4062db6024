// Where the running program lies.
#pragma once

#include <string>

namespace fttrain {

// Its absolute path, links resolved; "" where the kernel does not tell.
std::string ProgramPath();

}  // namespace fttrain
