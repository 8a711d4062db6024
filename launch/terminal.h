// Whether someone watches.
#pragma once

namespace fttrain {

// Whether what this process prints ends on a terminal. mpirun gives its first rank a terminal of
// its own whatever it writes to itself, so there the question is what mpirun's stdout is.
bool StdoutIsTerminal();

}  // namespace fttrain
