// Buffers of host memory in turn, through which bytes go to a device while the next are fetched.
#pragma once

#include <ATen/core/Tensor.h>
#include <c10/core/Event.h>

#include <vector>

namespace fttrain {

// The caller fills a buffer, enqueues what reads it on its current stream, and goes on to the next:
//   const at::Tensor& host = staging.Take();  // then filled
//   device.copy_(host, /*non_blocking=*/true);
//   staging.Used();
// On a CPU what reads it is done when the call returns, and nothing is waited for. One thread at a
// time. What is enqueued when this is destroyed still reads the buffers: they must be ATen's own
// pinned memory, which knows that, or be kept by their owner until it is done.
class Staging {
 public:
  // Host memory, pinned where `device` is a GPU.
  Staging(std::vector<at::Tensor> buffers, c10::Device device);

  // The buffer taken longest ago, once what reads it is done.
  const at::Tensor& Take();
  // What the current stream has to do so far is what reads the buffer taken last.
  void Used();

 private:
  std::vector<at::Tensor> buffers_;
  c10::Device device_;
  std::vector<c10::Event> used_;  // by buffer; none on a CPU
  size_t last_ = 0;
};

}  // namespace fttrain
