// Books the CUDA caching allocator's bytes in the memory ledger.
#pragma once

namespace fttrain {

// Attaches the observer; CUDA must be initialised. Later calls do nothing, nor does any in a build
// without CUDA.
void CountCudaMemory();

}  // namespace fttrain
