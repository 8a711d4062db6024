// The Process of a test that runs under mpirun.
#pragma once

#include "runtime/process/process.h"

namespace fttrain {
// Valid while tests run; initialised by the main() of tests with NP.
const Process& TestProcess();
}  // namespace fttrain
