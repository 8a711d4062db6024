// The CUDA kernels behind kernels.h over raw pointers to device memory; nothing here knows
// LibTorch. Each launches on `stream` (a cudaStream_t) and returns; a refused launch throws
// std::runtime_error naming the kernel. Statistics S are float, or double for kFloat64. Exist only
// in builds with CUDA.
#pragma once

#include <cstdint>

#include "model/config/forms.h"
#include "model/kernels/dtype.h"

namespace fttrain::cuda {

// x += delta (if not null), then y = norm(x). [rows, columns].
void Norm(Dtype type, void* x, const void* delta, const void* weight, void* y, int64_t rows,
          int64_t columns, const NormForm& form, void* stream);
// dresidual may be null. partial_dweight, if not null: S [kDweightParts, columns], overwritten; the
// sum over its rows is the gradient.
inline constexpr int64_t kDweightParts = 256;
void NormBackward(Dtype type, const void* dy, const void* x, const void* weight,
                  const void* dresidual, void* dx, void* partial_dweight, int64_t rows,
                  int64_t columns, const NormForm& form, void* stream);
// x [rows, heads, head_dim], or from the first element that turns; cos, sin S [*, turned / 2].
void Rope(Dtype type, void* x, const void* cos, const void* sin, const int64_t* positions,
          int64_t rows, int64_t heads, int64_t head_dim, bool inverse, int64_t turned,
          bool interleaved, void* stream);
void Glu(Dtype type, const void* gate, const void* up, void* hidden, int64_t count,
         const GluForm& form, void* stream);
// hidden may be null.
void GluBackward(Dtype type, const void* dhidden, void* gate, void* up, void* hidden, int64_t count,
                 const GluForm& form, void* stream);
void SoftCap(Dtype type, void* x, int64_t count, double cap, void* stream);

struct DropoutArguments {
  uint64_t key, stream;
  double p, scale;  // scale: 1 / (1 - p), which no thread should divide in float64
  int64_t offset, features;
};
void Dropout(Dtype type, const void* x, const int64_t* tokens, void* y, int64_t rows,
             int64_t columns, const DropoutArguments& arguments, void* stream);

// stats S [rows, 3]; lse and coefficients S [rows].
void CrossEntropyStats(Dtype type, const void* logits, const int64_t* targets, void* stats,
                       int64_t rows, int64_t vocab, int64_t vocab_offset, void* stream);
void CrossEntropyBackward(Dtype type, void* logits, const void* lse, const int64_t* targets,
                          const void* coefficients, int64_t rows, int64_t vocab,
                          int64_t vocab_offset, double soft_cap, void* stream);
// accumulator S += value.
void Accumulate(Dtype type, void* accumulator, const void* value, int64_t count, void* stream);

}  // namespace fttrain::cuda
