#include "model/nf4/ahead.h"

#include <ATen/ops/empty.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <cstdlib>
#include <string_view>

#include "runtime/memory/current_stream.h"
#include "runtime/memory/ledger.h"

namespace fttrain {

Nf4Ahead::Nf4Ahead(c10::Device device, at::ScalarType dtype) : device_(device), dtype_(dtype) {
  const char* word = std::getenv("FTTRAIN_NF4_AHEAD");
  looks_ahead_ = word == nullptr || std::string_view(word) != "0";
  if (!device.is_cuda()) return;
  // Its blocks go before those of a product that fills the GPU.
  side_ = c10::impl::VirtualGuardImpl(device.type())
              .getStreamFromGlobalPool(device, /*isHighPriority=*/true);
  free_.emplace(device.type());
  filled_.emplace(device.type());
}

Nf4Ahead::~Nf4Ahead() {
  // The buffers' memory must not be given away while the side stream still writes it.
  if (!side_ || !(buffers_[0].holds || buffers_[1].holds)) return;
  try {
    filled_->synchronize();
  } catch (const c10::Error&) {  // the device has failed: nothing writes any more
  }
}

// Buffers come from the current stream's pool and are given back there: the side stream writes one
// only after free_, and whoever replaces or overwrites one has waited for filled_.
void Nf4Ahead::Fill(Buffer& buffer, const Nf4Matrix& matrix) const {
  const int64_t rows = matrix.layout.rows, columns = matrix.layout.columns;
  buffer.values = buffer.storage.narrow(0, 0, rows * columns).view({rows, columns});
  DequantizeNf4(matrix, {0, rows}, {0, columns}, buffer.values);
}

at::Tensor Nf4Ahead::Get(const Nf4Matrix& matrix, bool backward) {
  const Pass pass = backward ? Pass::kBackward : recomputing_ ? Pass::kRecomputed : Pass::kForward;
  const Use use{matrix.bytes.const_data_ptr(), pass};
  if (last_) next_.insert_or_assign(*last_, std::pair(use, matrix));
  last_ = use;
  const auto grow = [&](Buffer& buffer, const Nf4Matrix& to) {
    const int64_t elements = to.layout.elements();
    if (buffer.storage.defined() && buffer.storage.numel() >= elements) return;
    const MemoryScope scope(MemoryCategory::kWorkspace);
    buffer = {};
    buffer.storage = at::empty({elements}, at::TensorOptions().dtype(dtype_).device(device_));
  };
  Buffer& wanted = buffers_[1 - current_];
  current_ = 1 - current_;
  if (wanted.holds && side_) filled_->block(CurrentStream(device_));
  if (wanted.holds == use) {
    ++hits_;
  } else {
    grow(wanted, matrix);
    Fill(wanted, matrix);
  }
  wanted.holds.reset();
  const auto guess = next_.find(use);
  if (looks_ahead_ && guess != next_.end()) {
    Buffer& other = buffers_[1 - current_];
    grow(other, guess->second.second);
    FillAhead(other, guess->second.first);
  }
  return wanted.values;
}

void Nf4Ahead::FillAhead(Buffer& buffer, const Use& use) {
  const Nf4Matrix& matrix = next_.at(*last_).second;
  buffer.holds = use;
  if (!side_) {
    Fill(buffer, matrix);
    return;
  }
  free_->record(CurrentStream(device_));
  free_->block(*side_);
  const c10::StreamGuard guard(*side_);
  Fill(buffer, matrix);
  filled_->record(*side_);
}

}  // namespace fttrain
