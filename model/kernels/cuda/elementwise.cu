// Operations without sums: one pack of 16 bytes per thread and operand.
#include "model/kernels/cuda/common.h"
#include "runtime/math/philox.h"

namespace fttrain::cuda {
namespace {

__device__ __forceinline__ int64_t FlatIndex() {
  return static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
}

template <class T, int N>
__global__ void RopeKernel(T* x, const typename Statistics<T>::Type* cos,
                           const typename Statistics<T>::Type* sin, const int64_t* positions,
                           int64_t packs, int64_t heads, int64_t half, bool inverse) {
  using S = typename Statistics<T>::Type;
  const int64_t index = FlatIndex();
  if (index >= packs) return;
  const int64_t packs_per_head = half / N;
  const int64_t head = index / packs_per_head, i = index % packs_per_head * N;
  T* first = x + head * 2 * half + i;
  const int64_t angle = positions[head / heads] * half + i;
  Pack<T, N> a = LoadPack<T, N>(first), b = LoadPack<T, N>(first + half);
  for (int e = 0; e < N; ++e) {
    S u = Widen(a.v[e]), w = Widen(b.v[e]);
    RotatePair(u, w, cos[angle + e], inverse ? -sin[angle + e] : sin[angle + e]);
    a.v[e] = Narrow<T>(u);
    b.v[e] = Narrow<T>(w);
  }
  StorePack<T, N>(first, a);
  StorePack<T, N>(first + half, b);
}

template <class T, int N>
__global__ void SwiGluKernel(const T* gate, const T* up, T* hidden, int64_t count) {
  const int64_t i = FlatIndex() * N;
  if (i >= count) return;
  Pack<T, N> g = LoadPack<T, N>(gate + i);
  const Pack<T, N> u = LoadPack<T, N>(up + i);
  for (int e = 0; e < N; ++e) g.v[e] = Narrow<T>(fttrain::SwiGlu(Widen(g.v[e]), Widen(u.v[e])));
  StorePack<T, N>(hidden + i, g);
}

template <class T, int N>
__global__ void SwiGluBackwardKernel(const T* dhidden, T* gate, T* up, T* hidden, int64_t count) {
  const int64_t i = FlatIndex() * N;
  if (i >= count) return;
  const Pack<T, N> dh = LoadPack<T, N>(dhidden + i);
  Pack<T, N> g = LoadPack<T, N>(gate + i), u = LoadPack<T, N>(up + i), h;
  for (int e = 0; e < N; ++e) {
    const auto grads = fttrain::SwiGluBackward(Widen(dh.v[e]), Widen(g.v[e]), Widen(u.v[e]));
    g.v[e] = Narrow<T>(grads.dgate);
    u.v[e] = Narrow<T>(grads.dup);
    h.v[e] = Narrow<T>(grads.hidden);
  }
  StorePack<T, N>(gate + i, g);
  StorePack<T, N>(up + i, u);
  if (hidden != nullptr) StorePack<T, N>(hidden + i, h);
}

// One Philox block, four elements, per thread; `skip` elements of a row's first block precede the
// slice.
template <class T>
__global__ void DropoutKernel(const T* x, const int64_t* tokens, T* y, int64_t rows,
                              int64_t columns, int64_t blocks_per_row, DropoutArguments arguments) {
  using S = typename Statistics<T>::Type;
  const int64_t index = FlatIndex(), row = index / blocks_per_row;
  if (row >= rows) return;
  const uint64_t begin = static_cast<uint64_t>(tokens[row] * arguments.features + arguments.offset);
  const int64_t skip = static_cast<int64_t>(begin % 4), in_row = index % blocks_per_row;
  const PhiloxBlock words = Philox4x32(arguments.key, begin / 4 + in_row, arguments.stream);
  const S scale = S(1.0 / (1.0 - arguments.p));
  const float threshold = static_cast<float>(arguments.p);
  for (int e = 0; e < 4; ++e) {
    const int64_t column = in_row * 4 + e - skip;
    if (column < 0 || column >= columns) continue;
    const S factor = UniformFromBits(words.x[e]) >= threshold ? scale : S(0);
    y[row * columns + column] = Narrow<T>(Widen(x[row * columns + column]) * factor);
  }
}

template <class T, int N>
__global__ void AccumulateKernel(typename Statistics<T>::Type* accumulator, const T* value,
                                 int64_t count) {
  const int64_t i = FlatIndex() * N;
  if (i >= count) return;
  const Pack<T, N> values = LoadPack<T, N>(value + i);
  for (int e = 0; e < N; ++e) accumulator[i + e] += Widen(values.v[e]);
}

}  // namespace

void Rope(Dtype type, void* x, const void* cos, const void* sin, const int64_t* positions,
          int64_t rows, int64_t heads, int64_t head_dim, bool inverse, void* stream) {
  const int64_t half = head_dim / 2;
  if (rows * heads * half == 0) return;
  LaunchPacked("Rope", type, half, {x}, [&](auto tag, auto n) {
    using T = decltype(tag);
    using S = typename Statistics<T>::Type;
    const int64_t packs = rows * heads * half / n;
    RopeKernel<T, n><<<FlatBlocks(packs), 256, 0, static_cast<cudaStream_t>(stream)>>>(
        static_cast<T*>(x), static_cast<const S*>(cos), static_cast<const S*>(sin), positions,
        packs, heads, half, inverse);
  });
}

void SwiGlu(Dtype type, const void* gate, const void* up, void* hidden, int64_t count,
            void* stream) {
  if (count == 0) return;
  LaunchPacked("SwiGlu", type, count, {gate, up, hidden}, [&](auto tag, auto n) {
    using T = decltype(tag);
    SwiGluKernel<T, n><<<FlatBlocks(count / n), 256, 0, static_cast<cudaStream_t>(stream)>>>(
        static_cast<const T*>(gate), static_cast<const T*>(up), static_cast<T*>(hidden), count);
  });
}

void SwiGluBackward(Dtype type, const void* dhidden, void* gate, void* up, void* hidden,
                    int64_t count, void* stream) {
  if (count == 0) return;
  LaunchPacked("SwiGluBackward", type, count, {dhidden, gate, up, hidden}, [&](auto tag, auto n) {
    using T = decltype(tag);
    SwiGluBackwardKernel<T, n>
        <<<FlatBlocks(count / n), 256, 0, static_cast<cudaStream_t>(stream)>>>(
            static_cast<const T*>(dhidden), static_cast<T*>(gate), static_cast<T*>(up),
            static_cast<T*>(hidden), count);
  });
}

void Dropout(Dtype type, const void* x, const int64_t* tokens, void* y, int64_t rows,
             int64_t columns, const DropoutArguments& arguments, void* stream) {
  if (rows * columns == 0) return;
  const int64_t blocks_per_row =
      (columns + 3 + 3) / 4;  // a row may start anywhere in its first block
  WithDtype(type, [&](auto tag) {
    using T = decltype(tag);
    DropoutKernel<T>
        <<<FlatBlocks(rows * blocks_per_row), 256, 0, static_cast<cudaStream_t>(stream)>>>(
            static_cast<const T*>(x), tokens, static_cast<T*>(y), rows, columns, blocks_per_row,
            arguments);
  });
  CheckLaunch("Dropout");
}

void Accumulate(Dtype type, void* accumulator, const void* value, int64_t count, void* stream) {
  if (count == 0) return;
  LaunchPacked("Accumulate", type, count, {accumulator, value}, [&](auto tag, auto n) {
    using T = decltype(tag);
    using S = typename Statistics<T>::Type;
    AccumulateKernel<T, n><<<FlatBlocks(count / n), 256, 0, static_cast<cudaStream_t>(stream)>>>(
        static_cast<S*>(accumulator), static_cast<const T*>(value), count);
  });
}

}  // namespace fttrain::cuda
