// Books the CUDA caching allocator's bytes in the memory ledger.
#pragma once

#include <c10/core/Device.h>

#include <cstdint>
#include <optional>

namespace fttrain {

// Attaches the observer; CUDA must be initialised. Later calls do nothing, nor does any in a build
// without CUDA.
void CountCudaMemory();

// Bytes of a GPU that the caching allocator holds: those the ledger counts, what it rounds them up
// by, and what it keeps for reuse. Neither has the CUDA context, NCCL's buffers and libraries'
// own. Nothing for a CPU.
std::optional<int64_t> ReservedBytes(c10::Device device);

}  // namespace fttrain
