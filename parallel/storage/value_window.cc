#include "parallel/storage/value_window.h"

#include <ATen/ATen.h>

#include "runtime/math/ceil_divide.h"
#include "runtime/memory/ledger.h"

namespace fttrain {
namespace {

int64_t BytesOf(const Parameter& parameter) {
  if (parameter.packed_bytes > 0) return parameter.packed_bytes;
  return parameter.slice.LocalNumel() * static_cast<int64_t>(c10::elementSize(parameter.dtype));
}

}  // namespace

ValueWindow::ValueWindow(const std::vector<Parameter*>& frozen, int64_t parts) {
  for (Parameter* parameter : frozen) {
    places_.push_back({parameter, bytes_});
    bytes_ = RoundUp(bytes_ + BytesOf(*parameter), kAlignmentBytes);
  }
  bytes_ = RoundUp(bytes_, kAlignmentBytes * parts);
}

ValueWindow::ValueWindow(const FlatBuffer& flat)
    : category_(flat.entries.front().parameter->category) {
  const int64_t element = flat.values.element_size();
  bytes_ = flat.numel() * element;
  for (const auto& [parameter, offset] : flat.entries) {
    places_.push_back({parameter, offset * element});
  }
}

void ValueWindow::Bring(c10::Device device) {
  const MemoryScope scope(category_);
  window_ = at::empty({bytes_}, at::TensorOptions().dtype(at::kByte).device(device));
  source_->Start(window_);
}

void ValueWindow::BringForWriting(c10::Device device) {
  {
    const MemoryScope scope(category_);
    window_ = source_->OnHost();
  }
  if (window_.defined()) return;
  Bring(device);
  Arrive();
}

void ValueWindow::Bind() const {
  for (const auto& [parameter, offset] : places_) {
    const at::Tensor mine = window_.narrow(0, offset, BytesOf(*parameter));
    parameter->value = parameter->packed_bytes > 0
                           ? mine
                           : mine.view(parameter->dtype).view(parameter->slice.LocalShape());
  }
}

void ValueWindow::Unbind() const {
  for (const auto& [parameter, offset] : places_) parameter->value.reset();
}

}  // namespace fttrain
