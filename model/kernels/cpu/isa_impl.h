// Everything compiled once per instruction set: included by each <isa>.cc, which
// defines FT_ISA (the namespace) and FT_ISA_FUNCTION (the table's accessor). It includes no header
// whose inline functions could be emitted here and then be picked by the linker for code that runs
// on older machines.
#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include <cstddef>
#include <cstdint>

#include "model/kernels/cpu/table.h"
#include "model/kernels/element_math.h"
#include "runtime/math/philox.h"

namespace fttrain {
namespace FT_ISA {
#include "model/kernels/cpu/vector_impl.h"
}  // namespace FT_ISA

template <>
struct Element<FT_ISA::FloatVector> {
  using Scalar = float;
  static FT_INLINE FT_ISA::Uint32Vector ToBits(const FT_ISA::FloatVector& v) {
    return (FT_ISA::Uint32Vector)v;
  }
  static FT_INLINE FT_ISA::FloatVector FromBits(const FT_ISA::Uint32Vector& v) {
    return (FT_ISA::FloatVector)v;
  }
};
template <>
struct Element<FT_ISA::DoubleVector> {
  using Scalar = double;
  static FT_INLINE FT_ISA::Uint64Vector ToBits(const FT_ISA::DoubleVector& v) {
    return (FT_ISA::Uint64Vector)v;
  }
  static FT_INLINE FT_ISA::DoubleVector FromBits(const FT_ISA::Uint64Vector& v) {
    return (FT_ISA::DoubleVector)v;
  }
};

namespace FT_ISA {
// In this order: each builds on those before it.
// clang-format off
#include "model/kernels/cpu/rows_impl.h"
#include "model/kernels/cpu/gemm_impl.h"
#include "model/kernels/cpu/attention_impl.h"
#include "model/kernels/cpu/attention_backward_impl.h"
#include "model/kernels/cpu/decode_attention_impl.h"
#include "model/kernels/cpu/few_rows_impl.h"
#include "model/kernels/cpu/block_product_impl.h"
// clang-format on

template <class T>
constexpr RowKernels<T> MakeRowKernels() {
  return {Norm<T>,
          NormBackward<T>,
          Rope<T>,
          GluForward<T>,
          GluBackwardInPlace<T>,
          SoftCapInPlace<T>,
          Dropout<T>,
          CrossEntropyStats<T>,
          CrossEntropyBackward<T>,
          Accumulate<T>,
          Widen<T>,
          Round<T>,
          AttentionWorkspace<T>,
          AttentionForward<T>,
          AttentionBackward<T>,
          AttentionDecode<T>,
          MultiplyFewRows<T>,
          BlockProductWorkspace<T>,
          MultiplyBlock<T>};
}
}  // namespace FT_ISA

const CpuKernels& FT_ISA_FUNCTION() {
  static constexpr CpuKernels kernels = {FT_ISA_NAME, FT_ISA::MakeRowKernels<double>(),
                                         FT_ISA::MakeRowKernels<float>(),
                                         FT_ISA::MakeRowKernels<Bf16>()};
  return kernels;
}

}  // namespace fttrain
