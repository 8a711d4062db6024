// What our .cu files use of CUDA, on the host (grid.h). Stands before the toolkit's header of this
// name in the include path.
#pragma once

#include <math.h>  // sqrt of float, as in CUDA, not of double alone

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <utility>

#include "tests/cuda_on_host/grid.h"
#include "tests/cuda_on_host/runtime_api.h"

#define __global__
#define __device__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(threads)
// One block runs at a time, on one OS thread: it has the variable for itself. Thread-local, so that
// shared_memory.cc can tell it from other static variables.
#define __shared__ static thread_local

using std::max;
using std::min;

struct alignas(16) uint4 {
  unsigned x, y, z, w;
};

// The place of the call, as last parameters.
#define FT_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(FT_HERE) {
  fttrain::cuda_on_host::MeetBlock({"__syncthreads", file, line});
}
inline void __syncwarp(unsigned mask = 0xffffffffU, FT_HERE) {
  fttrain::cuda_on_host::MeetWarp({"__syncwarp", file, line}, mask, 0);
}

namespace fttrain::cuda_on_host {

template <class T>
T Shuffle(const Site& site, unsigned mask, T value, unsigned source) {
  static_assert(sizeof(T) <= sizeof(uint64_t));
  uint64_t word = 0;
  std::memcpy(&word, &value, sizeof(T));
  const WarpWords words = MeetWarp(site, mask, word);
  if ((mask >> source & 1) == 0) {
    Fail(std::string(site.what) + ": lane " + std::to_string(source) + " is not in the mask");
  }
  std::memcpy(&value, &words[source], sizeof(T));
  return value;
}

}  // namespace fttrain::cuda_on_host

template <class T>
T __shfl_sync(unsigned mask, T value, int source, FT_HERE) {
  return fttrain::cuda_on_host::Shuffle({"__shfl_sync", file, line}, mask, value,
                                        static_cast<unsigned>(source) % 32);
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int lanes, FT_HERE) {
  return fttrain::cuda_on_host::Shuffle({"__shfl_xor_sync", file, line}, mask, value,
                                        (threadIdx.x ^ static_cast<unsigned>(lanes)) % 32);
}
inline unsigned __reduce_max_sync(unsigned mask, unsigned value, FT_HERE) {
  const auto words =
      fttrain::cuda_on_host::MeetWarp({"__reduce_max_sync", file, line}, mask, value);
  return static_cast<unsigned>(*std::max_element(words.begin(), words.end()));
}
inline unsigned __ballot_sync(unsigned mask, int predicate, FT_HERE) {
  const auto words =
      fttrain::cuda_on_host::MeetWarp({"__ballot_sync", file, line}, mask, predicate != 0 ? 1 : 0);
  unsigned votes = 0;
  for (unsigned lane = 0; lane < 32; ++lane) votes |= static_cast<unsigned>(words[lane]) << lane;
  return votes;
}
template <class T>
T atomicAdd(T* to, T value) {
  return std::exchange(*to, *to + value);
}

#undef FT_HERE
