// Communicators over MPI with a fault, between the last two ranks of the world, for the doctor.
#pragma once

#include "runtime/comm/backends.h"

namespace fttrain {

enum class Sickness {
  kNone,
  kCorrupts,   // a byte of every longer message
  kSlow,       // 0.5 MB/s
  kHangs,      // a receive that never ends
  kThrows,     // CommError, on the last rank
  kSumsWrong,  // an element of every all_reduce, on the last rank
};

CommBackend SickBackend(Sickness sickness);

}  // namespace fttrain
