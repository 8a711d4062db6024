#include "model/matmul/write_addresses.h"
#include "runtime/process/cuda_kernel.h"

namespace fttrain::cuda {
namespace {

constexpr unsigned kThreads = 3 * kMostGrouped;

__global__ void __launch_bounds__(kThreads)
    WriteKernel(const Addresses addresses, int64_t count, const void** table) {
  if (threadIdx.x < count) table[threadIdx.x] = addresses.at[threadIdx.x];
}

}  // namespace

void WriteAddresses(const Addresses& addresses, int64_t count, const void** table, void* stream) {
  Launch("WriteAddresses", WriteKernel, 1, kThreads, stream, addresses, count, table);
}

}  // namespace fttrain::cuda
