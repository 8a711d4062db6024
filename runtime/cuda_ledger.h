// Books the CUDA caching allocator's bytes in the memory ledger.
#pragma once

namespace fttrain {

// Attaches the observer; CUDA must be initialised. Later calls do nothing. Only in builds with
// CUDA.
void CountCudaMemory();

}  // namespace fttrain
