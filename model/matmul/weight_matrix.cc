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

at::Tensor WeightMatrix::Rows(const at::Tensor& rows) const {
  const at::Tensor& value = parameter_->value;
  if (held_.defined() || !layout_) {
    const at::Tensor& dense = held_.defined() ? held_ : value;
    return dense.index_select(0, rows.to(value.device())).to(compute_);
  }
  const at::Tensor some = at::empty({rows.size(0), in_}, value.options().dtype(compute_));
  for (int64_t i = 0; i < rows.size(0); ++i) {
    const int64_t row = rows.const_data_ptr<int64_t>()[i];
    DequantizeNf4(Packed(), {row, 1}, {0, in_}, some.narrow(0, i, 1));
  }
  return some;
}

HeldForProducts::HeldForProducts(WeightMatrix* weight)
    : weight_(weight != nullptr && weight->DequantizedWhole() ? weight : nullptr) {
  if (weight_ != nullptr) weight_->Hold();
}

HeldForProducts::~HeldForProducts() {
  if (weight_ != nullptr) weight_->Release();
}

}  // namespace fttrain
