#include "runtime/comm/reduce.h"

#include <algorithm>
#include <bit>
#include <type_traits>

#include "runtime/math/bf16.h"
#include "runtime/math/isa.h"
#include "runtime/process/check.h"

namespace fttrain {
namespace {

// The loops are plain and meant for the vectoriser: compiled with -O3.

template <typename T>
using Accumulator = std::conditional_t<std::is_same_v<T, Bf16>, float, T>;

template <typename T>
FT_ALWAYS_INLINE Accumulator<T> Widen(T value) {
  return value;
}
template <>
FT_ALWAYS_INLINE float Widen(Bf16 value) {
  return FloatFromBf16(value);
}

template <typename T>
FT_ALWAYS_INLINE T Narrow(Accumulator<T> value) {
  return value;
}
template <>
FT_ALWAYS_INLINE Bf16 Narrow(float value) {
  return Bf16FromFloat(value);
}

template <typename A>
FT_ALWAYS_INLINE A Combine(A a, A b, std::integral_constant<ReduceOp, ReduceOp::kSum>) {
  // Integers wrap, as they do in ATen and NCCL; unsigned arithmetic makes that defined.
  if constexpr (std::is_integral_v<A>) {
    using U = std::make_unsigned_t<A>;
    return static_cast<A>(static_cast<U>(static_cast<U>(a) + static_cast<U>(b)));
  } else {
    return a + b;
  }
}
template <typename A>
FT_ALWAYS_INLINE A Combine(A a, A b, std::integral_constant<ReduceOp, ReduceOp::kMax>) {
  if constexpr (std::is_integral_v<A>) {
    return a < b ? b : a;
  } else {
    return (a < b || b != b) ? b : a;
  }
}

template <typename T, ReduceOp kOp>
FT_ALWAYS_INLINE void ReduceLoop(const void* const* inputs, int count, int64_t elements,
                                 void* out) {
  using A = Accumulator<T>;
  constexpr std::integral_constant<ReduceOp, kOp> kTag;
  if (count == 2) {
    const T* first = static_cast<const T*>(inputs[0]);
    const T* second = static_cast<const T*>(inputs[1]);
    T* to = static_cast<T*>(out);
    // `out` is one of the inputs or apart from both, so elements do not depend on each other.
#pragma GCC ivdep
    for (int64_t i = 0; i < elements; ++i) {
      to[i] = Narrow<T>(Combine<A>(Widen<T>(first[i]), Widen<T>(second[i]), kTag));
    }
    return;
  }
  // Small enough for the accumulators to stay in the first-level cache.
  constexpr int64_t kBlock = 1024;
  A sums[kBlock];
  for (int64_t begin = 0; begin < elements; begin += kBlock) {
    const int64_t length = std::min(kBlock, elements - begin);
    const T* first = static_cast<const T*>(inputs[0]) + begin;
    for (int64_t i = 0; i < length; ++i) sums[i] = Widen<T>(first[i]);
    for (int k = 1; k < count; ++k) {
      const T* next = static_cast<const T*>(inputs[k]) + begin;
      for (int64_t i = 0; i < length; ++i) {
        sums[i] = Combine<A>(sums[i], Widen<T>(next[i]), kTag);
      }
    }
    T* to = static_cast<T*>(out) + begin;
    for (int64_t i = 0; i < length; ++i) to[i] = Narrow<T>(sums[i]);
  }
}

using Kernel = void (*)(const void* const*, int, int64_t, void*);

template <typename T, ReduceOp kOp>
void Baseline(const void* const* inputs, int count, int64_t elements, void* out) {
  ReduceLoop<T, kOp>(inputs, count, elements, out);
}

#if defined(__x86_64__)
template <typename T, ReduceOp kOp>
FT_TARGET_AVX2 void Avx2(const void* const* inputs, int count, int64_t elements, void* out) {
  ReduceLoop<T, kOp>(inputs, count, elements, out);
}
template <typename T, ReduceOp kOp>
__attribute__((target("avx512f,avx512bw,avx512vl,prefer-vector-width=512"))) void Avx512(
    const void* const* inputs, int count, int64_t elements, void* out) {
  ReduceLoop<T, kOp>(inputs, count, elements, out);
}
#endif

template <typename T, ReduceOp kOp>
Kernel BestKernel() {
#if defined(__x86_64__)
  if (Runs(Isa::kAvx512)) return &Avx512<T, kOp>;
  if (Runs(Isa::kAvx2)) return &Avx2<T, kOp>;
#endif
  return &Baseline<T, kOp>;
}

template <typename T>
Kernel KernelFor(ReduceOp op) {
  return op == ReduceOp::kSum ? BestKernel<T, ReduceOp::kSum>() : BestKernel<T, ReduceOp::kMax>();
}

Kernel KernelFor(c10::ScalarType dtype, ReduceOp op) {
  switch (dtype) {
    case c10::ScalarType::Double:
      return KernelFor<double>(op);
    case c10::ScalarType::Float:
      return KernelFor<float>(op);
    case c10::ScalarType::BFloat16:
      return KernelFor<Bf16>(op);
    case c10::ScalarType::Long:
      return KernelFor<int64_t>(op);
    case c10::ScalarType::Byte:
      return KernelFor<uint8_t>(op);
    default:
      break;
  }
  FT_CHECK(false, "no reduction for dtype ", static_cast<int>(dtype));
}

}  // namespace

void ReduceBuffers(c10::ScalarType dtype, ReduceOp op, const void* const* inputs, int count,
                   int64_t elements, void* out) {
  KernelFor(dtype, op)(inputs, count, elements, out);
}

}  // namespace fttrain
