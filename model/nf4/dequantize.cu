// NF4 to values: one pass from codes and nested scales.
#include <algorithm>
#include <type_traits>

#include "model/kernels/cuda/common.h"
#include "model/nf4/cuda.h"
#include "model/nf4/math.h"

namespace fttrain::cuda {
namespace {

constexpr int kTile = 1024;  // elements that a warp takes at once: 16 bytes of codes a lane
constexpr int kWarps = 8;
constexpr unsigned kAllLanes = 0xffffffffU;

struct DynamicMap {
  float values[256];
};

// One element or tile: its place in the slice, its run, its global flat index.
struct Spot {
  int64_t place, run, element;
};
__device__ __forceinline__ Spot SpotOf(const Nf4Source& source, int64_t place) {
  const int64_t run = place / source.run_elements;
  return {place, run,
          source.first_element + run * source.whole_columns + place % source.run_elements};
}

// absmax of global block `block`, which touches the run.
__device__ __forceinline__ float AbsmaxOf(const Nf4Source& source, int shift, int64_t run,
                                          int64_t block, const float* map) {
  const int64_t run_begin = source.first_element + run * source.whole_columns;
  const int64_t index = run * source.blocks_per_run + block - (run_begin >> shift);
  if (source.groups == nullptr) return reinterpret_cast<const float*>(source.scales)[index];
  return Nf4Absmax(map[source.scales[index]], source.groups[(block >> 8) - source.first_group],
                   *source.offset);
}

template <class T>
__device__ __forceinline__ T Convert(float x) {
  return Narrow<T>(x);
}
template <>
__device__ __forceinline__ double Convert<double>(float x) {
  return x;
}

// The tables of a block of threads, loaded once.
struct Tables {
  float values[16], map[256];
};
__device__ __forceinline__ void LoadTables(Tables& tables, const DynamicMap& map) {
  constexpr Nf4Table kTable = MakeNf4Table();
  if (threadIdx.x < 16) tables.values[threadIdx.x] = kTable.values[threadIdx.x];
  for (int i = threadIdx.x; i < 256; i += blockDim.x) tables.map[i] = map.values[i];
  __syncthreads();
}

// N codes, the first in the high nibble of the lowest byte.
template <int N>
struct CodeWord;
template <>
struct CodeWord<8> {
  using Type = uint32_t;
};
template <>
struct CodeWord<4> {
  using Type = uint16_t;
};
template <>
struct CodeWord<2> {
  using Type = uint8_t;
};

// Rows begin at multiples of 32 places and of a block (or tile, if that is shorter), and have a
// multiple of 32 elements. A warp loads the codes of a tile by 16 bytes a lane, passes them through
// shared memory so that neighbouring lanes store neighbouring results, and decodes each scale once.
template <class T, class R>
__global__ void __launch_bounds__(kWarps * 32)
    TileKernel(Nf4Source source, Nf4Rectangle to, int shift, DynamicMap map, T* out,
               int64_t tiles_per_row, int64_t tiles) {
  constexpr int N = kPack<T>;
  using Word = typename CodeWord<N>::Type;
  __shared__ Tables tables;
  __shared__ uint4 staged[kWarps][32];
  LoadTables(tables, map);
  const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
  const int64_t stride = static_cast<int64_t>(gridDim.x) * kWarps;
  for (int64_t tile = static_cast<int64_t>(blockIdx.x) * kWarps + warp; tile < tiles;
       tile += stride) {
    const int64_t row = tile / tiles_per_row, column = tile % tiles_per_row * kTile;
    const int count = static_cast<int>(min(static_cast<int64_t>(kTile), to.columns - column));
    const Spot spot = SpotOf(source, to.first + row * to.stride + column);
    if (lane * 32 < count) {
      staged[warp][lane] = reinterpret_cast<const uint4*>(source.codes + spot.place / 2)[lane];
    }
    float absmax = 0.0F;  // of the lane-th block of the tile
    if ((static_cast<int64_t>(lane) << shift) < count) {
      absmax = AbsmaxOf(source, shift, spot.run, (spot.element >> shift) + lane, tables.map);
    }
    __syncwarp();
    const Word* words = reinterpret_cast<const Word*>(staged[warp]);
    T* results = out + row * to.out_stride + column;
#pragma unroll
    for (int step = 0; step < kTile / (32 * N); ++step) {
      const int element = (step * 32 + lane) * N;
      const float scale = __shfl_sync(kAllLanes, absmax, element >> shift);
      if (element >= count) continue;
      const uint32_t word = words[step * 32 + lane];
      Pack<T, N> pack;
#pragma unroll
      for (int e = 0; e < N; ++e) {
        const uint32_t code = word >> (e / 2 * 8 + (e % 2 == 0 ? 4 : 0)) & 15U;
        pack.v[e] = Convert<T>(RoundTo<R>(MultiplyRounded(tables.values[code], scale)));
      }
      StorePack<T, N>(results + element, pack);
    }
    __syncwarp();  // before the next tile's codes
  }
}

// Any rectangle, an element a thread.
template <class T, class R>
__global__ void ElementKernel(Nf4Source source, Nf4Rectangle to, int shift, DynamicMap map,
                              T* out) {
  __shared__ Tables tables;
  LoadTables(tables, map);
  const int64_t stride = static_cast<int64_t>(gridDim.x) * blockDim.x;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
       i < to.rows * to.columns; i += stride) {
    const int64_t row = i / to.columns, column = i % to.columns;
    const Spot spot = SpotOf(source, to.first + row * to.stride + column);
    const int code = source.codes[spot.place / 2] >> (spot.place % 2 == 0 ? 4 : 0) & 15;
    const float absmax = AbsmaxOf(source, shift, spot.run, spot.element >> shift, tables.map);
    out[row * to.out_stride + column] =
        Convert<T>(RoundTo<R>(MultiplyRounded(tables.values[code], absmax)));
  }
}

// Whether TileKernel's conditions hold; `size` is that of a result.
bool FitsTiles(const Nf4Source& source, const Nf4Rectangle& to, const void* out, int64_t size) {
  const int64_t unit = std::min<int64_t>(source.block_size, kTile);
  const int64_t run = to.first / source.run_elements;
  const int64_t begin =
      source.first_element + run * source.whole_columns + to.first % source.run_elements;
  const int64_t step = source.runs == 1 ? to.stride : source.whole_columns;
  const bool first_fits = begin % unit == 0 && to.first % 32 == 0 && to.columns % 32 == 0;
  const bool others_fit = step % unit == 0 && to.stride % 32 == 0 && to.out_stride * size % 16 == 0;
  return first_fits && (to.rows == 1 || others_fit) &&
         reinterpret_cast<uintptr_t>(source.codes) % 16 == 0 &&
         reinterpret_cast<uintptr_t>(out) % 16 == 0;
}

// No more blocks than run at once: others would load the tables again.
template <class T, class R>
void LaunchDequantize(const Nf4Source& source, const Nf4Rectangle& to, const DynamicMap& map,
                      void* out, void* stream) {
  int shift = 0;
  while ((int64_t{1} << shift) < source.block_size) ++shift;
  if (FitsTiles(source, to, out, sizeof(T))) {
    static const int64_t at_once = BlocksAtOnce(TileKernel<T, R>, kWarps * 32);
    const int64_t tiles_per_row = (to.columns + kTile - 1) / kTile;
    const int64_t tiles = to.rows * tiles_per_row;
    const int64_t grid = std::min(at_once, (tiles + kWarps - 1) / kWarps);
    Launch("DequantizeNf4", TileKernel<T, R>, static_cast<unsigned>(grid), kWarps * 32, stream,
           source, to, shift, map, out, tiles_per_row, tiles);
  } else {
    static const int64_t at_once = BlocksAtOnce(ElementKernel<T, R>, 256);
    const int64_t grid = std::min(at_once, (to.rows * to.columns + 255) / 256);
    Launch("DequantizeNf4", ElementKernel<T, R>, static_cast<unsigned>(grid), 256, stream, source,
           to, shift, map, out);
  }
}

}  // namespace

void DequantizeNf4(const Nf4Source& source, const Nf4Rectangle& rectangle, const float* map,
                   Dtype type, void* out, void* stream) {
  DynamicMap copy;
  std::copy(map, map + 256, copy.values);
  WithDtype(type, [&](auto result) {
    using T = decltype(result);
    const auto launch = [&](auto rounding) {
      LaunchDequantize<T, decltype(rounding)>(source, rectangle, copy, out, stream);
    };
    // Rounding to the result's own dtype is what the conversion does.
    if (source.rounding == Dtype::kFloat32 || source.rounding == type) return launch(float{});
    if constexpr (!std::is_same_v<T, __nv_bfloat16>) {
      if (source.rounding == Dtype::kBfloat16) return launch(__nv_bfloat16{});
    }
    if constexpr (!std::is_same_v<T, __half>) launch(__half{});
  });
}

}  // namespace fttrain::cuda
