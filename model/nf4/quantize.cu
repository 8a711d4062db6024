// Values to NF4, and codes to the slice that holds them.
#include <algorithm>

#include "model/kernels/cuda/common.h"
#include "model/nf4/cuda.h"
#include "model/nf4/math.h"

namespace fttrain::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kHeld = 8;  // elements that a lane takes at once: four bytes of codes

template <class T>
__device__ __forceinline__ void LoadOctet(const T* from, float* v) {
#pragma unroll
  for (int part = 0; part < kHeld; part += kPack<T>) {
    const Pack<T, kPack<T>> pack = LoadPack<T, kPack<T>>(from + part);
#pragma unroll
    for (int e = 0; e < kPack<T>; ++e) v[part + e] = Widen(pack.v[e]);
  }
}

__device__ __forceinline__ uint32_t MaxOverGroup(uint32_t value, int group, unsigned mask) {
  for (int offset = group / 2; offset > 0; offset /= 2) {
    value = max(value, __shfl_xor_sync(mask, value, offset));
  }
  return value;
}

__device__ __forceinline__ uint32_t EncodeOctet(const float* v, float multiplier,
                                                const float* thresholds) {
  uint32_t word = 0;
#pragma unroll
  for (int e = 0; e < kHeld; ++e) {
    const uint32_t code = Nf4Code(MultiplyRounded(v[e], multiplier), thresholds);
    word |= code << (e / 2 * 8 + (e % 2 == 0 ? 4 : 0));
  }
  return word;
}

// A whole, 16-byte aligned block on the `group` lanes of `mask`.
template <class T, bool kOnce>
__device__ __forceinline__ uint32_t WholeBlock(const T* values, int64_t size, int lane, int group,
                                               unsigned mask, const float* thresholds,
                                               uint8_t* codes) {
  float v[kHeld];
  uint32_t top = 0;
  for (int64_t i = lane * kHeld; i < size; i += group * kHeld) {
    LoadOctet(values + i, v);
#pragma unroll
    for (int e = 0; e < kHeld; ++e) top = max(top, MagnitudeBits(v[e]));
  }
  top = MaxOverGroup(top, group, mask);
  const float multiplier = DivideRounded(1.0F, Nf4Divisor(FloatFromBits(top)));
  for (int64_t i = lane * kHeld; i < size; i += group * kHeld) {
    if (!kOnce) LoadOctet(values + i, v);  // still in the cache
    *reinterpret_cast<uint32_t*>(codes + i / 2) = EncodeOctet(v, multiplier, thresholds);
  }
  return top;
}

// Any block, a pair of elements a lane. A short one's values are divided by absmax, which is then
// not below the smallest divisor.
template <class T>
__device__ __forceinline__ uint32_t AnyBlock(const T* values, int64_t size, bool is_short, int lane,
                                             int group, unsigned mask, const float* thresholds,
                                             uint8_t* codes) {
  uint32_t top = 0;
  for (int64_t i = lane; i < size; i += group) top = max(top, MagnitudeBits(Widen(values[i])));
  top = MaxOverGroup(top, group, mask);
  const float divisor = Nf4Divisor(FloatFromBits(top));
  const float multiplier = DivideRounded(1.0F, divisor);
  const auto code = [&](int64_t i) {
    if (i >= size) return kNf4ZeroCode;
    const float x = Widen(values[i]);
    return Nf4Code(is_short ? DivideRounded(x, divisor) : MultiplyRounded(x, multiplier),
                   thresholds);
  };
  for (int64_t i = 2 * lane; i < size; i += 2 * group) {
    codes[i / 2] = static_cast<uint8_t>(code(i) << 4 | code(i + 1));
  }
  return is_short ? MagnitudeBits(divisor) : top;
}

// A block of elements by a group of lanes of one warp.
template <class T, bool kOnce>
__global__ void QuantizeKernel(const T* values, int64_t count, int64_t block_size, int group,
                               bool aligned, uint8_t* codes, float* absmax) {
  __shared__ float thresholds[16];
  constexpr Nf4Table kTable = MakeNf4Table();
  if (threadIdx.x < 15) thresholds[threadIdx.x] = kTable.thresholds[threadIdx.x];
  __syncthreads();
  const int64_t index = (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) / group;
  const int64_t first = index * block_size;
  if (first >= count) return;
  const int lane = threadIdx.x % group;
  const unsigned mask = NeighboursMask(group);
  const bool is_short = count - first < block_size;
  const uint32_t top = aligned && !is_short
                           ? WholeBlock<T, kOnce>(values + first, block_size, lane, group, mask,
                                                  thresholds, codes + first / 2)
                           : AnyBlock(values + first, min(block_size, count - first), is_short,
                                      lane, group, mask, thresholds, codes + first / 2);
  if (lane == 0) absmax[index] = FloatFromBits(top);
}

template <class T>
void LaunchQuantize(const T* values, int64_t count, int64_t block_size, uint8_t* codes,
                    float* absmax, void* stream) {
  const int group = static_cast<int>(std::min<int64_t>(32, block_size / kHeld));
  const bool aligned =
      reinterpret_cast<uintptr_t>(values) % 16 == 0 && reinterpret_cast<uintptr_t>(codes) % 4 == 0;
  const int64_t blocks = (count + block_size - 1) / block_size;
  const auto grid = static_cast<unsigned>((blocks * group + kThreads - 1) / kThreads);
  const auto kernel = block_size <= 32 * kHeld ? QuantizeKernel<T, true> : QuantizeKernel<T, false>;
  Launch("QuantizeNf4Blocks", kernel, grid, kThreads, stream, values, count, block_size, group,
         aligned, codes, absmax);
}

// A byte of the slice a thread: only it writes there, whichever runs share the byte.
__global__ void StoreCodesKernel(const uint8_t* codes, int64_t first_element, int64_t count,
                                 Nf4Runs runs, int64_t begin_byte, int64_t end_byte, uint8_t* to) {
  const int64_t byte = begin_byte + static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (byte >= end_byte) return;
  uint32_t value = to[byte];
  for (int half = 0; half < 2; ++half) {
    const int64_t place = 2 * byte + half, run = place / runs.run_elements;
    const int64_t from =
        runs.first_element + run * runs.whole_columns + place % runs.run_elements - first_element;
    if (run >= runs.runs || from < 0 || from >= count) continue;
    const uint32_t code = codes[from / 2] >> (from % 2 == 0 ? 4 : 0) & 15U;
    value = half == 0 ? (value & 15U) | code << 4 : (value & 0xf0U) | code;
  }
  to[byte] = static_cast<uint8_t>(value);
}

}  // namespace

void QuantizeNf4Blocks(Dtype type, const void* values, int64_t count, int64_t block_size,
                       uint8_t* codes, float* absmax, void* stream) {
  const auto launch = [&](auto element) {
    LaunchQuantize(static_cast<const decltype(element)*>(values), count, block_size, codes, absmax,
                   stream);
  };
  if (type == Dtype::kBfloat16) return launch(__nv_bfloat16{});
  if (type == Dtype::kFloat16) return launch(__half{});
  launch(float{});
}

void StoreNf4Codes(const uint8_t* codes, int64_t first_element, int64_t count, const Nf4Runs& runs,
                   uint8_t* to, void* stream) {
  // The runs that may hold some of the elements.
  const int64_t before = first_element - runs.first_element - runs.run_elements;
  const int64_t after = first_element + count - runs.first_element;
  int64_t begin = 0, end = 1;
  if (runs.runs > 1) {
    begin = std::clamp<int64_t>(before / runs.whole_columns, 0, runs.runs);
    end = std::clamp<int64_t>(after / runs.whole_columns + 1, 0, runs.runs);
  }
  const int64_t begin_byte = begin * runs.run_elements / 2;
  const int64_t end_byte = (end * runs.run_elements + 1) / 2;
  if (begin_byte >= end_byte) return;
  Launch("StoreNf4Codes", StoreCodesKernel, FlatBlocks(end_byte - begin_byte), kThreads, stream,
         codes, first_element, count, runs, begin_byte, end_byte, to);
}

}  // namespace fttrain::cuda
