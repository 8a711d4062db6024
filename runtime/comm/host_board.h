// The board of this host's ranks.
#pragma once

#include <memory>

#include "runtime/process/board.h"
#include "runtime/process/process.h"

namespace fttrain {

// Null on every rank of a host that has no memory to share, as in a container with a small
// /dev/shm: its watchdogs then speak for themselves alone. Collective over the world of `process`.
std::unique_ptr<Board> OpenHostBoard(const Process& process);

}  // namespace fttrain
