#include "runtime/memory/staging.h"

#include <utility>

#include "runtime/memory/current_stream.h"

namespace fttrain {

Staging::Staging(std::vector<at::Tensor> buffers, c10::Device device)
    : buffers_(std::move(buffers)), device_(device), last_(buffers_.size() - 1) {
  if (!device.is_cuda()) return;
  for (size_t i = 0; i < buffers_.size(); ++i) used_.emplace_back(device.type());
}

const at::Tensor& Staging::Take() {
  last_ = (last_ + 1) % buffers_.size();
  if (!used_.empty()) used_[last_].synchronize();
  return buffers_[last_];
}

void Staging::Used() {
  if (used_.empty()) return;
  used_[last_].record(CurrentStream(device_));
}

}  // namespace fttrain
