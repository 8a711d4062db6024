#include "runtime/process/cuda_kernel.h"
#include "tests/cuda_on_host/faulty.h"

namespace fttrain::cuda_on_host {
namespace {

using cuda::Launch;

template <class T>
__global__ void ReverseKernel(const T* in, T* out, bool with_barrier) {
  __shared__ T staged[256];
  staged[threadIdx.x] = in[threadIdx.x];
  if (with_barrier) __syncthreads();
  out[threadIdx.x] = staged[255 - threadIdx.x];
}

__device__ float Sum(float value, float* shared) {
  for (int offset = 16; offset > 0; offset /= 2) {
    value += __shfl_xor_sync(0xffffffffU, value, offset);
  }
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  float total = 0;
  for (unsigned warp = 0; warp < blockDim.x / 32; ++warp) total += shared[warp];
  return total;
}
__global__ void SumTwiceKernel(const float* in, float* out, bool with_barrier) {
  __shared__ float shared[32];
  const float first = Sum(in[threadIdx.x], shared);
  if (with_barrier) __syncthreads();
  out[blockIdx.x * blockDim.x + threadIdx.x] = first + Sum(2 * in[threadIdx.x], shared);
}

__global__ void ShiftedKernel(const float* in, float* out, int shift) {
  out[threadIdx.x] = in[static_cast<int>(threadIdx.x) + shift];
}

__global__ void CopyPacksKernel(const float* in, float* out) {
  cuda::StorePack<float, 4>(out + 4 * threadIdx.x, cuda::LoadPack<float, 4>(in + 4 * threadIdx.x));
}

__global__ void WarpSumKernel(const float* in, float* out, unsigned lanes, unsigned mask) {
  if (threadIdx.x % 32 >= lanes) return;
  float value = in[threadIdx.x];
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(mask, value, offset);
  out[threadIdx.x] = value;
}

__global__ void BarrierKernel(float* out, unsigned first_out, bool elsewhere) {
  if (threadIdx.x < first_out) {
    __syncthreads();
  } else if (elsewhere) {
    __syncthreads();
  }
  out[threadIdx.x] = 1;
}

__global__ void SharedIndexKernel(float* out, int index) {
  __shared__ float staged[32];
  staged[index] = 1;
  *out = staged[index];
}

__global__ void ReadThenWriteKernel(float* values, float* out, bool with_meeting) {
  out[threadIdx.x] = values[31 - threadIdx.x];
  if (with_meeting) __syncwarp();
  values[threadIdx.x] = 7;
}

__global__ void VoteKernel(unsigned* votes, int* sum) {
  votes[threadIdx.x] = __ballot_sync(0xffffffffU, threadIdx.x % 2 == 0);
  atomicAdd(sum, static_cast<int>(threadIdx.x));
}

__global__ void NothingKernel() {}

}  // namespace

void ReverseBlock(const float* in, float* out, bool with_barrier) {
  Launch("Reverse", ReverseKernel<float>, 1, 256, nullptr, in, out, with_barrier);
}
void SumTwice(const float* in, float* out, bool with_barrier) {
  Launch("SumTwice", SumTwiceKernel, 8, 256, nullptr, in, out, with_barrier);
}
void Shifted(const float* in, float* out, int shift) {
  Launch("Shifted", ShiftedKernel, 1, 256, nullptr, in, out, shift);
}
void CopyPacks(const float* in, float* out) {
  Launch("CopyPacks", CopyPacksKernel, 1, 16, nullptr, in, out);
}
void WarpSum(const float* in, float* out, unsigned lanes, unsigned mask) {
  Launch("WarpSum", WarpSumKernel, 1, 64, nullptr, in, out, lanes, mask);
}
void Barrier(float* out, unsigned first_out, bool elsewhere) {
  Launch("Barrier", BarrierKernel, 1, 64, nullptr, out, first_out, elsewhere);
}
void SharedIndex(float* out, int index) {
  Launch("SharedIndex", SharedIndexKernel, 1, 1, nullptr, out, index);
}
void ReadThenWrite(float* values, float* out, bool with_meeting) {
  Launch("ReadThenWrite", ReadThenWriteKernel, 1, 32, nullptr, values, out, with_meeting);
}
void Vote(unsigned* votes, int* sum) { Launch("Vote", VoteKernel, 1, 32, nullptr, votes, sum); }
void Nothing(unsigned blocks, unsigned threads) {
  Launch("Nothing", NothingKernel, blocks, threads, nullptr);
}

}  // namespace fttrain::cuda_on_host
