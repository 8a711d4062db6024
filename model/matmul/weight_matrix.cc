#include "model/matmul/weight_matrix.h"

#include <ATen/ops/empty.h>

#include <utility>

#include "model/matmul/float32_gemm.h"
#include "model/matmul/tensor_rows.h"
#include "runtime/memory/ledger.h"

namespace fttrain {

Parameter* DeclareMatrix(Parameter matrix, const std::optional<Nf4Options>& nf4,
                         ParameterSet& set) {
  TORCH_CHECK(!nf4 || !matrix.trainable, matrix.slice.name,
              ": an NF4 matrix is frozen, only adapters can be trained");
  const int64_t bytes = nf4 ? MakeNf4Layout(SliceInFile(matrix.slice), *nf4).bytes : 0;
  if (bytes > 0) {  // else the slice is empty, as good dense
    matrix.packed_bytes = bytes;
    matrix.dtype = at::kByte;
  }
  return set.Declare(std::move(matrix));
}

WeightMatrix::WeightMatrix(Parameter* matrix, at::ScalarType compute,
                           const std::optional<Nf4Options>& nf4, Nf4Ahead* ahead)
    : parameter_(matrix), compute_(compute), ahead_(ahead) {
  const std::vector<int64_t> shape = matrix->slice.LocalShape();
  out_ = shape.at(0);
  in_ = shape.at(1);
  if (matrix->packed_bytes > 0) layout_ = MakeNf4Layout(SliceInFile(matrix->slice), nf4.value());
}

Nf4Matrix WeightMatrix::Packed() const { return {*layout_, parameter_->value}; }

Operand WeightMatrix::operand() const {
  if (held_.defined()) return held_;
  if (!layout_) return parameter_->value;
  return {Packed(), compute_, ahead_};
}

bool WeightMatrix::DequantizedWhole() const {
  if (!layout_ || held_.defined()) return false;
  return !ExpandsBlocks(parameter_->value.device(), compute_);
}

void WeightMatrix::Hold(bool hold) {
  if (!hold) held_ = at::Tensor();
  if (!hold || !layout_ || held_.defined()) return;
  const MemoryScope scope(MemoryCategory::kWorkspace);
  // Float32 where that is what blocks would be expanded to: no product expands them any more.
  const auto options = parameter_->value.options();
  const bool wide = ExpandsBlocks(options.device(), compute_);
  held_ = at::empty({out_, in_}, options.dtype(wide ? at::kFloat : compute_));
  if (wide) {
    DequantizeWide(Packed(), compute_, {0, out_}, {0, in_}, held_);
  } else {
    DequantizeNf4(Packed(), {0, out_}, {0, in_}, held_);
  }
}

}  // namespace fttrain
