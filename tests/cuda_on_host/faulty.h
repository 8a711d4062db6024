// Kernels with one fault each, and the same ones without it, launched as ours are.
#pragma once

#include <cstdint>

namespace fttrain::cuda_on_host {

// out[i] = in[255 - i], through shared memory.
void ReverseBlock(const float* in, float* out, bool with_barrier);
// Eight blocks: out[i] = three times the sum of in, by two sums in the same shared memory.
void SumTwice(const float* in, float* out, bool with_barrier);
// out[i] = in[i + shift] of 256.
void Shifted(const float* in, float* out, int shift);
// out[i / 4] = four floats of in, of 64; a thread loads a pack.
void CopyPacks(const float* in, float* out);
// Sums within warps; lane 31 leaves first, or all stay.
void WarpSum(const float* in, float* out, unsigned lanes, unsigned mask);
// Threads from `first_out` on do not come to the barrier.
void Barrier(float* out, unsigned first_out, bool elsewhere);
// Element `index` of an array of 32 in shared memory.
void SharedIndex(float* out, int index);
// Each lane writes 7 where another one read before.
void ReadThenWrite(float* values, float* out, bool with_meeting);
// Votes, and a sum by atomics.
void Vote(unsigned* votes, int* sum);
// A grid of `blocks` blocks.
void Nothing(unsigned blocks, unsigned threads);

}  // namespace fttrain::cuda_on_host
