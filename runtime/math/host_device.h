// Marks element arithmetic that is compiled for the host and, by nvcc, for the device too: always
// inlined, so that each caller's instruction set is used and no copy is shared between them.
#pragma once

#if defined(__CUDACC__)
#define FT_HOST_DEVICE __host__ __device__ __forceinline__
#else
#define FT_HOST_DEVICE inline __attribute__((always_inline))
#endif
