// What callers of the raw-pointer loops share: element types, threads, argument checks.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>

#include <algorithm>

#include "model/kernels/cpu/table.h"
#include "model/kernels/dtype.h"
#include "runtime/memory/rehearsal.h"

namespace fttrain {

// What sums over elements of a dtype are formed in.
inline at::ScalarType StatisticsType(at::ScalarType type) {
  return type == at::kDouble ? at::kDouble : at::kFloat;
}
inline at::ScalarType StatisticsType(const at::Tensor& x) {
  return StatisticsType(x.scalar_type());
}

inline Dtype DtypeOf(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return Dtype::kFloat32;
    case at::kBFloat16:
      return Dtype::kBfloat16;
    case at::kHalf:
      return Dtype::kFloat16;
    case at::kDouble:
      return Dtype::kFloat64;
    default:
      TORCH_CHECK(false, "kernels know float32, bfloat16, float16 and float64, not ", type);
  }
}

inline Dtype DtypeOf(const at::Tensor& x) { return DtypeOf(x.scalar_type()); }

// body(T{}) for the element type of a CPU tensor.
template <class Body>
void WithElementType(const at::Tensor& x, const Body& body) {
  switch (x.scalar_type()) {
    case at::kDouble:
      return body(double{});
    case at::kFloat:
      return body(float{});
    case at::kBFloat16:
      return body(Bf16{});
    default:
      TORCH_CHECK(false, "the CPU kernels take float64, float32 and bfloat16, not ",
                  x.scalar_type());
  }
}

template <class T>
const T* Data(const at::Tensor& x) {
  return x.defined() ? static_cast<const T*>(x.const_data_ptr()) : nullptr;
}
template <class T>
T* MutableData(const at::Tensor& x) {
  return x.defined() ? static_cast<T*>(x.mutable_data_ptr()) : nullptr;
}

// The fastest loops this machine runs.
inline const CpuKernels& SelectedCpuKernels() {
  static const CpuKernels selected = FastestCpuKernels();
  return selected;
}

// body(begin, end) over [0, items) on the threads of at::get_num_threads(), at least ~16k elements
// each; not in a rehearsal.
template <class Body>
void ParallelItems(int64_t items, int64_t elements_per_item, const Body& body) {
  if (IsRehearsal()) return;
  const int64_t grain = std::max<int64_t>(1, 16384 / std::max<int64_t>(1, elements_per_item));
  at::parallel_for(0, items, grain, body);
}

inline void CheckInput(const char* what, const at::Tensor& x) {
  TORCH_CHECK(x.defined() && x.is_floating_point() && x.dim() >= 1 && x.is_contiguous(), what,
              ": want a contiguous float tensor, got ",
              x.defined() ? x.toString() : std::string("none"), " ",
              x.defined() ? x.sizes() : at::IntArrayRef(), " with strides ",
              x.defined() ? x.strides() : at::IntArrayRef());
}

inline void CheckSame(const char* what, const at::Tensor& x, const at::Tensor& other) {
  CheckInput(what, x);
  CheckInput(what, other);
  TORCH_CHECK(x.sizes() == other.sizes() && x.scalar_type() == other.scalar_type() &&
                  x.device() == other.device(),
              what, ": ", x.toString(), " ", x.sizes(), " and ", other.toString(), " ",
              other.sizes());
}

// A vector or table beside x: contiguous, of the given dtype, on x's device.
inline void CheckOperand(const char* what, const at::Tensor& x, const at::Tensor& operand,
                         at::IntArrayRef sizes, at::ScalarType type) {
  TORCH_CHECK(operand.defined() && operand.sizes() == sizes && operand.scalar_type() == type &&
                  operand.is_contiguous() && operand.device() == x.device(),
              what, ": want ", type, " ", sizes, " on ", x.device(), ", got ",
              operand.defined() ? operand.toString() : std::string("none"), " ",
              operand.defined() ? operand.sizes() : at::IntArrayRef());
}

}  // namespace fttrain
