#include "parallel/storage/gradient_reader.h"

#include <ATen/ATen.h>

#include "runtime/memory/ledger.h"

namespace fttrain {

GradientReader::GradientReader(const ParameterStore& store)
    : store_(&store), whole_(store.buffers().size()) {
  for (size_t i = 0; i < store.buffers().size(); ++i) {
    for (const auto& [parameter, offset] : store.buffers()[i].entries) {
      places_[parameter] = {i, offset};
    }
  }
}

at::Tensor GradientReader::Whole(size_t buffer) {
  if (whole_[buffer].defined()) return whole_[buffer];
  const FlatBuffer& flat = store_->buffers()[buffer];
  Communicator& replicas = store_->mesh().Line(flat.replicas);
  const int zero_stage = store_->zero_stage();
  if (zero_stage == 0 || replicas.size() == 1) return flat.gradients;
  const MemoryScope scope(MemoryCategory::kGradients);
  if (zero_stage >= 2) whole_.assign(whole_.size(), at::Tensor());
  at::Tensor& whole = whole_[buffer];
  whole = zero_stage == 1 ? flat.gradients : at::empty({flat.numel()}, flat.gradients.options());
  replicas.AllGather(flat.GradientsIn(store_->Owned(flat)), whole);
  return whole;
}

at::Tensor GradientReader::Read(const Parameter& parameter) {
  const auto found = places_.find(&parameter);
  TORCH_CHECK(found != places_.end(), parameter.slice.name, " has no gradient");
  return Whole(found->second.buffer)
      .narrow(0, found->second.offset, parameter.slice.LocalNumel())
      .view(parameter.slice.LocalShape());
}

}  // namespace fttrain
