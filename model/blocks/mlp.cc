#include "model/blocks/mlp.h"

#include <utility>

namespace fttrain {

void MlpBlock::ForwardInner(const at::Tensor& x, const BlockContext& context,
                            MemoryCategory category, BlockSaved& base) const {
  auto& saved = static_cast<MlpSaved&>(base);
  const MemoryScope scope(category);
  std::vector<at::Tensor> gate_up =
      gate_up_.Forward(x, context.batch.dropout, context.batch.adapters);
  saved.gate = std::move(gate_up[0]);
  saved.up = std::move(gate_up[1]);
}

at::Tensor MlpBlock::ForwardOutput(const BlockContext& context, MemoryCategory category,
                                   BlockSaved& base, bool last_use) const {
  auto& saved = static_cast<MlpSaved&>(base);
  const at::Tensor hidden = GluForward(saved.gate, saved.up, activation_);
  if (last_use) saved.FreeInner();
  return ForwardAndLeave(down_, hidden, context, category);
}

at::Tensor MlpBlock::Backward(const at::Tensor& dy, const BlockContext& context, const MakeInput& x,
                              BlockSaved& base, bool need_dx) const {
  auto& saved = static_cast<MlpSaved&>(base);
  {
    const DropoutContext& dropout = context.batch.dropout;
    const at::Tensor dfull = region_.Enter(dy);
    at::Tensor dhidden;
    const at::Tensor dlow = down_.BackwardInput({dfull}, dropout, dhidden);
    // From here gate and up hold their gradients.
    const at::Tensor hidden =
        GluBackwardInPlace(dhidden, saved.gate, saved.up, down_.HasTrainable(), activation_);
    dhidden.reset();
    if (down_.HasTrainable()) down_.BackwardParams({dfull}, dlow, hidden, dropout);
  }
  std::vector<at::Tensor> dgate_up = {std::move(saved.gate), std::move(saved.up)};
  return BackwardFirst(gate_up_, std::move(dgate_up), context, x, need_dx);
}

}  // namespace fttrain
