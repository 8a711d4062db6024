// One warp per block of 256 elements, eight of them in each lane's registers, so that a block's
// absmax is one warp reduction. Compiled without fused multiply-adds (CMakeLists.txt): equal to the
// CPU's loop bit by bit. Memory-bound: 16 bytes per element (18 with a rounded copy).
#include <algorithm>

#include "parallel/optimizer/adamw_int8_cuda.h"
#include "runtime/math/bf16.h"
#include "runtime/math/ceil_divide.h"
#include "runtime/process/cuda_kernel.h"

namespace fttrain::cuda {
namespace {

constexpr int kThreads = 512, kWarps = kThreads / 32;
constexpr int kPerLane = kInt8Block / 32;
constexpr unsigned kAllLanes = 0xffffffffu;

__device__ __forceinline__ float WarpAbsmax(const float (&values)[kPerLane]) {
  uint32_t bits = 0;
  for (int e = 0; e < kPerLane; ++e) bits = max(bits, MagnitudeBits(values[e]));
  return FloatFromBits(__reduce_max_sync(kAllLanes, bits));
}

template <bool kSigned>
__device__ __forceinline__ void StoreMoments(const float (&values)[kPerLane], const int32_t* codes,
                                             uint8_t* to, float* absmax) {
  const float block_absmax = WarpAbsmax(values);
  const float scale = Scale(block_absmax);
  Pack<uint8_t, kPerLane> pack;
  for (int e = 0; e < kPerLane; ++e) pack.v[e] = TableCode<kSigned>(codes, values[e] / scale);
  StorePack(to, pack);
  if (threadIdx.x % 32 == 0) *absmax = block_absmax;
}

__device__ __forceinline__ void UpdateBlock(const Int8Operands& o, int64_t block,
                                            const Int8Tables& tables,
                                            const AdamWCoefficients<float>& c) {
  const int64_t i = block * kInt8Block + (threadIdx.x % 32) * kPerLane;
  const auto m8 = LoadPack<uint8_t, kPerLane>(o.exp_avg + i);
  const auto v8 = LoadPack<uint8_t, kPerLane>(o.exp_avg_sq + i);
  const float m_absmax = o.exp_avg_absmax[block], v_absmax = o.exp_avg_sq_absmax[block];
  float m[kPerLane], v[kPerLane];
  Pack<Bf16, kPerLane> rounded;
  for (int half = 0; half < kPerLane; half += 4) {
    auto param = LoadPack<float, 4>(o.param + i + half);
    const auto grad = LoadPack<float, 4>(o.grad + i + half);
    for (int e = 0; e < 4; ++e) {
      const int at = half + e;
      const AdamWElement<float> updated =
          AdamWUpdated(AdamWElement<float>{param.v[e], tables.exp_avg_map[m8.v[at]] * m_absmax,
                                           tables.exp_avg_sq_map[v8.v[at]] * v_absmax},
                       grad.v[e], c);
      param.v[e] = updated.param;
      m[at] = updated.exp_avg;
      v[at] = updated.exp_avg_sq;
      rounded.v[at] = Bf16FromFloat(updated.param);
    }
    StorePack(o.param + i + half, param);
  }
  if (o.rounded != nullptr) StorePack(o.rounded + i, rounded);
  __syncwarp();  // all lanes have read the old absmax
  StoreMoments<true>(m, tables.exp_avg_codes, o.exp_avg + i, o.exp_avg_absmax + block);
  StoreMoments<false>(v, tables.exp_avg_sq_codes, o.exp_avg_sq + i, o.exp_avg_sq_absmax + block);
}

__global__ void __launch_bounds__(kThreads)
    AdamWInt8Kernel(Int8Operands operands, const Int8Tables* tables, AdamWCoefficients<float> c) {
  __shared__ Int8Tables shared;
  const auto* from = reinterpret_cast<const int32_t*>(tables);
  auto* to = reinterpret_cast<int32_t*>(&shared);
  for (int i = threadIdx.x; i < static_cast<int>(sizeof(Int8Tables) / 4); i += kThreads) {
    to[i] = from[i];
  }
  __syncthreads();
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / 32;
  for (int64_t block = first; block < operands.blocks;
       block += static_cast<int64_t>(gridDim.x) * kWarps) {
    UpdateBlock(operands, block, shared, c);
  }
}

}  // namespace

void AdamWInt8(const Int8Operands& operands, const Int8Tables* tables,
               const AdamWCoefficients<float>& coefficients, void* stream) {
  if (operands.blocks == 0) return;
  // Few thread blocks that stay: each copies the tables once.
  static const int64_t at_once = BlocksAtOnce(AdamWInt8Kernel, kThreads);
  const int64_t grid = std::min(at_once, CeilDivide(operands.blocks, kWarps));
  Launch("AdamWInt8", AdamWInt8Kernel, static_cast<unsigned>(grid), kThreads, stream, operands,
         tables, coefficients);
}

}  // namespace fttrain::cuda
