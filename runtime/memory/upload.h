// Small arrays that the host makes and a device reads.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <vector>

namespace fttrain {

// The values on the device. To CUDA by way of pinned memory, so that the host goes on at once; the
// caching host allocator keeps that memory until the copy is done.
template <class T>
at::Tensor Upload(const std::vector<T>& values, c10::Device device) {
  const auto options = at::TensorOptions(c10::CppTypeToScalarType<T>::value);
  at::Tensor host =
      at::empty({static_cast<int64_t>(values.size())}, options.pinned_memory(device.is_cuda()));
  std::copy(values.begin(), values.end(), host.mutable_data_ptr<T>());
  return host.to(device, /*non_blocking=*/true);
}

}  // namespace fttrain
