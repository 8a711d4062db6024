// A device that is smaller than it is, for tests and proofs.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>

namespace fttrain {

// From now on this process's tensors on `device` take no more than `bytes`: the allocation that
// would is refused as by a full device, with c10::Error. On a GPU, where the caching allocator
// counts, no more than it reserves. Of tensors on the host beside a GPU nothing is said.
void LimitMemory(c10::Device device, int64_t bytes);

}  // namespace fttrain
