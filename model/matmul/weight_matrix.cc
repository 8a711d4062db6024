#include "model/matmul/weight_matrix.h"

#include <ATen/ops/empty.h>

#include <utility>

#include "model/matmul/float32_gemm.h"
#include "runtime/memory/ledger.h"

namespace fttrain {

WeightMatrix::WeightMatrix(Parameter parameter, const std::optional<Nf4Options>& nf4,
                           Nf4Ahead* ahead, ParameterSet& set)
    : compute_(parameter.dtype), ahead_(ahead) {
  const std::vector<int64_t> shape = parameter.slice.LocalShape();
  out_ = shape.at(0);
  in_ = shape.at(1);
  if (nf4) {
    TORCH_CHECK(!parameter.trainable, parameter.slice.name,
                ": an NF4 matrix is frozen, only adapters can be trained");
    const Nf4Layout layout = MakeNf4Layout(parameter.slice, *nf4);
    if (layout.bytes > 0) {  // else the slice is empty, as good dense
      layout_ = layout;
      parameter.packed_bytes = layout.bytes;
      parameter.dtype = at::kByte;
    }
  }
  parameter_ = set.Declare(std::move(parameter));
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

void WeightMatrix::Hold() {
  if (!layout_ || held_.defined()) return;
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
