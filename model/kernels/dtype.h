// The element type of tensors behind raw pointers, for kernels that do not know LibTorch.
#pragma once

namespace fttrain {

enum class Dtype { kFloat32, kBfloat16, kFloat16, kFloat64 };

}  // namespace fttrain
