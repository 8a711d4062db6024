// CUDA tensors over a transport that reads and writes host memory alone: they pass through pinned
// buffers. For mpi_communicator.cc.
#pragma once

#include <ATen/ATen.h>

#include <exception>
#include <memory>
#include <utility>

#include "runtime/comm/communicator.h"

namespace fttrain {

// A pinned host tensor of the same sizes and dtype.
inline at::Tensor PinnedLike(const at::Tensor& tensor) {
  return at::empty(tensor.sizes(), tensor.options().device(at::kCPU).pinned_memory(true));
}

// A CUDA tensor's image in host memory, complete on return.
inline at::Tensor OnHost(const at::Tensor& tensor) {
  at::Tensor host = PinnedLike(tensor);
  host.copy_(tensor);
  return host;
}

// Copies a result back to the device on the stream current at Wait.
class StagedWork final : public Work {
 public:
  StagedWork(std::unique_ptr<Work> inner, at::Tensor host, at::Tensor device)
      : inner_(std::move(inner)), host_(std::move(host)), device_(std::move(device)) {}
  ~StagedWork() override {
    if (std::uncaught_exceptions() == exceptions_) Wait();
  }
  void Wait() override {
    if (waited_) return;
    waited_ = true;
    if (inner_ != nullptr) inner_->Wait();
    device_.copy_(host_, /*non_blocking=*/true);
  }

 private:
  std::unique_ptr<Work> inner_;
  at::Tensor host_, device_;
  bool waited_ = false;
  int exceptions_ = std::uncaught_exceptions();
};

}  // namespace fttrain
