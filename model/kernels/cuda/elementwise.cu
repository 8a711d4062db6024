// Operations without sums: one pack of 16 bytes per thread and operand.
#include <numeric>

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
                           int64_t packs, int64_t heads, int64_t head_dim, int64_t half,
                           bool inverse) {
  using S = typename Statistics<T>::Type;
  const int64_t index = FlatIndex();
  if (index >= packs) return;
  const int64_t packs_per_head = half / N;
  const int64_t head = index / packs_per_head, i = index % packs_per_head * N;
  T* first = x + head * head_dim + i;
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

// Pairs that are neighbours, one a thread.
template <class T>
__global__ void RopeNeighboursKernel(T* x, const typename Statistics<T>::Type* cos,
                                     const typename Statistics<T>::Type* sin,
                                     const int64_t* positions, int64_t pairs, int64_t heads,
                                     int64_t head_dim, int64_t half, bool inverse) {
  using S = typename Statistics<T>::Type;
  const int64_t index = FlatIndex();
  if (index >= pairs) return;
  const int64_t head = index / half, i = index % half;
  T* first = x + head * head_dim + 2 * i;
  const int64_t angle = positions[head / heads] * half + i;
  S u = Widen(first[0]), w = Widen(first[1]);
  RotatePair(u, w, cos[angle], inverse ? -sin[angle] : sin[angle]);
  first[0] = Narrow<T>(u);
  first[1] = Narrow<T>(w);
}

template <class Gate, class T, int N>
__global__ void GluKernel(const T* gate, const T* up, T* hidden, int64_t count) {
  const int64_t i = FlatIndex() * N;
  if (i >= count) return;
  Pack<T, N> g = LoadPack<T, N>(gate + i);
  const Pack<T, N> u = LoadPack<T, N>(up + i);
  for (int e = 0; e < N; ++e) {
    g.v[e] = Narrow<T>(fttrain::Glu<Gate>(Widen(g.v[e]), Widen(u.v[e])));
  }
  StorePack<T, N>(hidden + i, g);
}

template <class Gate, class T, int N>
__global__ void GluBackwardKernel(const T* dhidden, T* gate, T* up, T* hidden, int64_t count) {
  const int64_t i = FlatIndex() * N;
  if (i >= count) return;
  const Pack<T, N> dh = LoadPack<T, N>(dhidden + i);
  Pack<T, N> g = LoadPack<T, N>(gate + i), u = LoadPack<T, N>(up + i), h;
  for (int e = 0; e < N; ++e) {
    const auto grads = fttrain::GluBackward<Gate>(Widen(dh.v[e]), Widen(g.v[e]), Widen(u.v[e]));
    g.v[e] = Narrow<T>(grads.dgate);
    u.v[e] = Narrow<T>(grads.dup);
    h.v[e] = Narrow<T>(grads.hidden);
  }
  StorePack<T, N>(gate + i, g);
  StorePack<T, N>(up + i, u);
  if (hidden != nullptr) StorePack<T, N>(hidden + i, h);
}

template <class T, int N>
__global__ void ClampedGluKernel(const T* gate, const T* up, T* hidden, int64_t count, double limit,
                                 double alpha) {
  using S = typename Statistics<T>::Type;
  const int64_t i = FlatIndex() * N;
  if (i >= count) return;
  Pack<T, N> g = LoadPack<T, N>(gate + i);
  const Pack<T, N> u = LoadPack<T, N>(up + i);
  for (int e = 0; e < N; ++e) {
    g.v[e] = Narrow<T>(ClampedGlu(Widen(g.v[e]), Widen(u.v[e]), S(limit), S(alpha)));
  }
  StorePack<T, N>(hidden + i, g);
}

template <class T, int N>
__global__ void ClampedGluBackwardKernel(const T* dhidden, T* gate, T* up, T* hidden, int64_t count,
                                         double limit, double alpha) {
  using S = typename Statistics<T>::Type;
  const int64_t i = FlatIndex() * N;
  if (i >= count) return;
  const Pack<T, N> dh = LoadPack<T, N>(dhidden + i);
  Pack<T, N> g = LoadPack<T, N>(gate + i), u = LoadPack<T, N>(up + i), h;
  for (int e = 0; e < N; ++e) {
    const auto grads =
        ClampedGluBackward(Widen(dh.v[e]), Widen(g.v[e]), Widen(u.v[e]), S(limit), S(alpha));
    g.v[e] = Narrow<T>(grads.dgate);
    u.v[e] = Narrow<T>(grads.dup);
    h.v[e] = Narrow<T>(grads.hidden);
  }
  StorePack<T, N>(gate + i, g);
  StorePack<T, N>(up + i, u);
  if (hidden != nullptr) StorePack<T, N>(hidden + i, h);
}

template <class T, int N>
__global__ void SoftCapKernel(T* x, int64_t count, double cap) {
  using S = typename Statistics<T>::Type;
  const int64_t i = FlatIndex() * N;
  if (i >= count) return;
  Pack<T, N> values = LoadPack<T, N>(x + i);
  for (int e = 0; e < N; ++e) {
    values.v[e] = Narrow<T>(fttrain::SoftCap<S>(Widen(values.v[e]), S(cap)));
  }
  StorePack<T, N>(x + i, values);
}

// Two Philox blocks, eight elements, a thread; blockIdx.y is the row, and strides over them. The
// first block's begin may lie up to three elements before the slice; N > 1: it lies at the slice's.
template <class T, int N>
__global__ void DropoutKernel(const T* x, const int64_t* tokens, T* y, int64_t rows,
                              int64_t columns, DropoutArguments arguments) {
  using S = typename Statistics<T>::Type;
  const S scale = S(arguments.scale);
  const float threshold = static_cast<float>(arguments.p);
  const int64_t octet = FlatIndex();
  for (int64_t row = blockIdx.y; row < rows; row += gridDim.y) {
    const auto begin = static_cast<uint64_t>(tokens[row] * arguments.features + arguments.offset);
    const int64_t first = 8 * octet - static_cast<int64_t>(begin % 4);
    if (first >= columns) continue;
    const uint64_t block = begin / 4 + 2 * octet;
    const PhiloxBlock words[2] = {Philox4x32(arguments.key, block, arguments.stream),
                                  Philox4x32(arguments.key, block + 1, arguments.stream)};
#pragma unroll
    for (int part = 0; part < 8; part += N) {
      const int64_t column = first + part;
      if (column < 0 || column >= columns) continue;
      Pack<T, N> pack = LoadPack<T, N>(x + row * columns + column);
#pragma unroll
      for (int e = 0; e < N; ++e) {
        const float uniform = UniformFromBits(words[(part + e) / 4].x[(part + e) % 4]);
        pack.v[e] = Narrow<T>(Widen(pack.v[e]) * (uniform >= threshold ? scale : S(0)));
      }
      StorePack<T, N>(y + row * columns + column, pack);
    }
  }
}

template <class T, int N>
__global__ void AccumulateKernel(typename Statistics<T>::Type* accumulator, const T* value,
                                 int64_t count) {
  const int64_t i = FlatIndex() * N;
  if (i >= count) return;
  const Pack<T, N> values = LoadPack<T, N>(value + i);
  Pack<typename Statistics<T>::Type, N> wide;
  for (int e = 0; e < N; ++e) wide.v[e] = Widen(values.v[e]);
  AddTo(accumulator + i, wide);
}

}  // namespace

void Rope(Dtype type, void* x, const void* cos, const void* sin, const int64_t* positions,
          int64_t rows, int64_t heads, int64_t head_dim, bool inverse, int64_t turned,
          bool interleaved, void* stream) {
  const int64_t half = turned / 2, pairs = rows * heads * half;
  if (pairs == 0) return;
  if (interleaved) {
    WithDtype(type, [&](auto tag) {
      Launch("RopeNeighbours", RopeNeighboursKernel<decltype(tag)>, FlatBlocks(pairs), 256, stream,
             x, cos, sin, positions, pairs, heads, head_dim, half, inverse);
    });
    return;
  }
  // Packs stay within the halves, and each head begins with one.
  WithPacks(type, std::gcd(half, head_dim), {x}, [&](auto tag, auto n) {
    const int64_t packs = pairs / n;
    Launch("Rope", RopeKernel<decltype(tag), n>, FlatBlocks(packs), 256, stream, x, cos, sin,
           positions, packs, heads, head_dim, half, inverse);
  });
}

void Glu(Dtype type, const void* gate, const void* up, void* hidden, int64_t count,
         const GluForm& form, void* stream) {
  if (count == 0) return;
  WithPacks(type, count, {gate, up, hidden}, [&](auto tag, auto n) {
    if (form.activation == Activation::kClampedSwish) {
      Launch("ClampedGlu", ClampedGluKernel<decltype(tag), n>, FlatBlocks(count / n), 256, stream,
             gate, up, hidden, count, form.limit, form.alpha);
      return;
    }
    const auto kernel = form.activation == Activation::kSilu
                            ? GluKernel<SiluGate, decltype(tag), n>
                            : GluKernel<GeluTanhGate, decltype(tag), n>;
    Launch("Glu", kernel, FlatBlocks(count / n), 256, stream, gate, up, hidden, count);
  });
}

void GluBackward(Dtype type, const void* dhidden, void* gate, void* up, void* hidden, int64_t count,
                 const GluForm& form, void* stream) {
  if (count == 0) return;
  WithPacks(type, count, {dhidden, gate, up, hidden}, [&](auto tag, auto n) {
    if (form.activation == Activation::kClampedSwish) {
      Launch("ClampedGluBackward", ClampedGluBackwardKernel<decltype(tag), n>,
             FlatBlocks(count / n), 256, stream, dhidden, gate, up, hidden, count, form.limit,
             form.alpha);
      return;
    }
    const auto kernel = form.activation == Activation::kSilu
                            ? GluBackwardKernel<SiluGate, decltype(tag), n>
                            : GluBackwardKernel<GeluTanhGate, decltype(tag), n>;
    Launch("GluBackward", kernel, FlatBlocks(count / n), 256, stream, dhidden, gate, up, hidden,
           count);
  });
}

void SoftCap(Dtype type, void* x, int64_t count, double cap, void* stream) {
  if (count == 0) return;
  WithPacks(type, count, {x}, [&](auto tag, auto n) {
    Launch("SoftCap", SoftCapKernel<decltype(tag), n>, FlatBlocks(count / n), 256, stream, x, count,
           cap);
  });
}

void Dropout(Dtype type, const void* x, const int64_t* tokens, void* y, int64_t rows,
             int64_t columns, const DropoutArguments& arguments, void* stream) {
  if (rows * columns == 0) return;
  const bool at_blocks = arguments.features % 4 == 0 && arguments.offset % 4 == 0;
  WithPacks(type, at_blocks ? columns : 1, {x, y}, [&](auto tag, auto n) {  // 1: no packs
    const int64_t octets = (columns + (n > 1 ? 0 : 3) + 7) / 8;
    const unsigned threads = RowThreads(octets);
    const dim3 grid(static_cast<unsigned>((octets + threads - 1) / threads),
                    static_cast<unsigned>(rows < 65535 ? rows : 65535));
    Launch("Dropout", DropoutKernel<decltype(tag), n>, grid, threads, stream, x, tokens, y, rows,
           columns, arguments);
  });
}

void Accumulate(Dtype type, void* accumulator, const void* value, int64_t count, void* stream) {
  if (count == 0) return;
  WithPacks(type, count, {accumulator, value}, [&](auto tag, auto n) {
    Launch("Accumulate", AccumulateKernel<decltype(tag), n>, FlatBlocks(count / n), 256, stream,
           accumulator, value, count);
  });
}

}  // namespace fttrain::cuda
