// The matrix of a linear, this rank's slice [out, in]: in compute dtype, or NF4 (frozen).
#pragma once

#include <optional>

#include "model/matmul/matmul.h"
#include "parallel/layout/param.h"

namespace fttrain {

// Declares a matrix (slice, placement, trainable and dtype, the compute dtype, are set). With
// `nf4` it becomes packed bytes, kByte, as MakeNf4Layout says of its SliceInFile, unless the slice
// is empty. Throws c10::Error for a trainable matrix with nf4.
Parameter* DeclareMatrix(Parameter matrix, const std::optional<Nf4Options>& nf4, ParameterSet& set);

class WeightMatrix {
 public:
  // Of a matrix that DeclareMatrix declared, with the same `nf4`; `ahead` may be null.
  WeightMatrix(Parameter* matrix, at::ScalarType compute, const std::optional<Nf4Options>& nf4,
               Nf4Ahead* ahead);
  int64_t out() const { return out_; }
  int64_t in() const { return in_; }
  Parameter* parameter() const { return parameter_; }
  // W [out, in] for products of gradients; its t() [in, out] for those of inputs.
  Operand operand() const;

  // Whether a product now would dequantise all of it, so that holding it costs no more memory.
  bool DequantizedWhole() const;
  // From Hold(true) to Hold(false) operand() is dense: an NF4 matrix is dequantised once, in
  // float32 where a float32 GEMM runs on the CPU, else in compute dtype, and booked as kWorkspace.
  // Nothing for a dense matrix. The same values, so results differ by the order of sums at most.
  void Hold(bool hold);

 private:
  Nf4Matrix Packed() const;
  Parameter* parameter_;
  at::ScalarType compute_;
  std::optional<Nf4Layout> layout_;
  int64_t out_, in_;
  Nf4Ahead* ahead_;
  at::Tensor held_;
};

}  // namespace fttrain
