// The CPU loops behind kernels.h and attention.h, as tables of functions over raw pointers: the
// same source compiled for several instruction sets, chosen at run time. Single-threaded; callers
// split rows over threads. No function reads or writes beyond the sizes given. All are thread-safe
// and depend on their arguments alone.
#pragma once

#include <cstdint>
#include <vector>

#include "model/config/forms.h"
#include "runtime/math/bf16.h"

namespace fttrain {

template <class T>
struct StatisticsOf {
  using Type = float;
};
template <>
struct StatisticsOf<double> {
  using Type = double;
};

struct DropoutSlice {
  uint64_t key, stream;
  double p;
  int64_t offset, features;  // index = token * features + offset + column
};

// One (document, kv head) of attention. Pointers are at the document's first token and the head's
// first element; strides count elements between tokens. Query heads follow one another every
// head_dim elements.
template <class T>
struct AttentionHead {
  using S = typename StatisticsOf<T>::Type;
  const T *q, *k, *v;
  T* out;  // forward: written; backward: read
  S* lse;  // [group, tokens of the batch]; row stride lse_stride
  int64_t q_stride, kv_stride, lse_stride;
  int64_t length, group, head_dim, window;
  double scale, soft_cap = 0;
  const S* sinks = nullptr;  // [group], forward only: scores of no token; null: none
  const T* dout = nullptr;   // backward only, as the four below; laid out as q, q, k, v
  T *dq = nullptr, *dk = nullptr, *dv = nullptr;
};

// One token's query heads of one kv head, one after the other, and the tokens it attends to: itself
// and those before it. k and v at the first of them; kv_stride elements between tokens.
template <class T>
struct DecodeHead {
  const T *q, *k, *v;
  T* out;  // [group, head_dim], as q
  int64_t kv_stride, length, group, head_dim;
  double scale, soft_cap = 0;
  const typename StatisticsOf<T>::Type* sinks = nullptr;  // as AttentionHead's
};
// Scores of a head take so many elements a query head: length, rounded up to a multiple of this.
inline constexpr int64_t kDecodeUnit = 16;

// A product with the transpose of a matrix of few rows (matmul/few_rows.h): sum[m, n] += alpha *
// (a[m] . b[n]) for rows n of b. `a` and `sum` have statistics' type.
template <class T>
struct FewRows {
  using S = typename StatisticsOf<T>::Type;
  const S* a;  // [rows, inner], a_stride between rows
  const T* b;  // [columns, inner], b_stride between rows
  S* sum;      // [rows, columns], sum_stride between rows
  int64_t a_stride, b_stride, sum_stride, rows, columns, inner;
  S alpha;
};

// Some columns of a product, as one thread forms them (matmul/cpu_grouped.h): out = (accumulate ?
// out : 0) + alpha a b, rounded once. a [rows, inner] and out [rows, columns] by rows; b [inner,
// columns], at most kProductColumns, by rows or by columns; strides between those.
template <class T>
struct BlockProduct {
  const T *a, *b;
  T* out;
  int64_t a_stride, b_stride, out_stride, rows, columns, inner;
  bool b_by_rows, accumulate;
  typename StatisticsOf<T>::Type alpha;
};
inline constexpr int64_t kProductColumns = 64;

// Operations on rows of T with statistics S. Semantics as in kernels.h.
template <class T>
struct RowKernels {
  using S = typename StatisticsOf<T>::Type;
  // delta, if any, is added to x first (in place).
  void (*norm)(T* x, const T* delta, const T* weight, T* y, int64_t rows, int64_t columns,
               const NormForm& form);
  // dresidual and dweight may be null.
  void (*norm_backward)(const T* dy, const T* x, const T* weight, const T* dresidual, T* dx,
                        S* dweight, int64_t rows, int64_t columns, const NormForm& form);
  // cos, sin [positions, turned / 2]: the first `turned` elements of each head turn.
  void (*rope)(T* x, const S* cos, const S* sin, const int64_t* positions, int64_t rows,
               int64_t heads, int64_t head_dim, bool inverse, int64_t turned, bool interleaved);
  void (*glu)(const T* gate, const T* up, T* hidden, int64_t count, const GluForm& form);
  void (*glu_backward)(const T* dhidden, T* gate, T* up, T* hidden, int64_t count,
                       const GluForm& form);
  void (*soft_cap)(T* x, int64_t count, double cap);
  void (*dropout)(const T* x, const int64_t* tokens, T* y, int64_t rows, int64_t columns,
                  const DropoutSlice& slice);
  void (*cross_entropy_stats)(const T* logits, const int64_t* targets, S* stats, int64_t rows,
                              int64_t vocab, int64_t vocab_offset);
  void (*cross_entropy_backward)(T* logits, const S* lse, const int64_t* targets,
                                 const S* coefficients, int64_t rows, int64_t vocab,
                                 int64_t vocab_offset, double soft_cap);
  void (*accumulate)(S* accumulator, const T* value, int64_t count);
  void (*widen)(const T* x, S* y, int64_t count);
  void (*round)(const S* x, T* y, int64_t count);
  // workspace: attention_workspace(head, backward) bytes, 64-byte aligned.
  int64_t (*attention_workspace)(const AttentionHead<T>& head, bool backward);
  void (*attention_forward)(const AttentionHead<T>& head, void* workspace);
  void (*attention_backward)(const AttentionHead<T>& head, void* workspace);
  // scores: [group, length rounded up to kDecodeUnit].
  void (*attention_decode)(const DecodeHead<T>& head, S* scores);
  void (*few_rows)(const FewRows<T>& product);
  // workspace: block_product_workspace(inner) bytes, 64-byte aligned; 0: this set does not form it.
  int64_t (*block_product_workspace)(int64_t inner);
  void (*block_product)(const BlockProduct<T>& product, void* workspace);
};

struct CpuKernels {
  const char* name;
  RowKernels<double> float64;
  RowKernels<float> float32;
  RowKernels<Bf16> bfloat16;
};

const CpuKernels& CpuKernelsBase();
#if defined(__x86_64__)
const CpuKernels& CpuKernelsAvx2();
const CpuKernels& CpuKernelsAvx512();
const CpuKernels& CpuKernelsAvx512Bf16();
#endif

// Those this machine can run, the fastest last.
std::vector<const CpuKernels*> UsableCpuKernels();
// The fastest of them, function by function.
CpuKernels FastestCpuKernels();

template <class T>
const RowKernels<T>& RowsOf(const CpuKernels& kernels);
template <>
inline const RowKernels<double>& RowsOf(const CpuKernels& kernels) {
  return kernels.float64;
}
template <>
inline const RowKernels<float>& RowsOf(const CpuKernels& kernels) {
  return kernels.float32;
}
template <>
inline const RowKernels<Bf16>& RowsOf(const CpuKernels& kernels) {
  return kernels.bfloat16;
}

}  // namespace fttrain
