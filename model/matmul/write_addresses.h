// A table of addresses on the device, which exists only in builds with CUDA.
#pragma once

#include <cstdint>

#include "model/matmul/most_grouped.h"

namespace fttrain::cuda {

struct Addresses {
  const void* at[3 * kMostGrouped];
};

// table[i] = addresses.at[i] for i < count. They travel as the kernel's argument, so that no host
// memory has to outlive the call. Launches one kernel on `stream` (a cudaStream_t) and returns. A
// refused launch throws std::runtime_error.
void WriteAddresses(const Addresses& addresses, int64_t count, const void** table, void* stream);

}  // namespace fttrain::cuda
