// The host's tables of int8_moments.h.
#pragma once

#include "parallel/optimizer/int8_moments.h"

namespace fttrain {

// Codes are those of NearestDynamicCode (dynamic_map.h) for every float32 in [-1, 1], but that a
// negative x whose nearest entry is 0 takes the entry below: bitsandbytes' CUDA optimizer keeps the
// sign of exp_avg.
const Int8Tables& HostInt8Tables();

}  // namespace fttrain
