// AdamW whose moments are kept in 8 bits, block by block, as bitsandbytes' AdamW8bit keeps them on
// CUDA: dequantise, update moments and parameter in float32, and only then quantise the moments
// with the block's new absmax. A negative exp_avg never becomes zero: it keeps its sign and takes
// the smallest negative code. What differs from there is rounding alone (the order of adamw_math.h;
// weight decay before the step, as torch.optim.AdamW has it).
#pragma once

#include <ATen/core/Tensor.h>

#include "parallel/optimizer/adamw_math.h"
#include "parallel/optimizer/int8_moments.h"

namespace fttrain {

// Moments of n elements, a multiple of kInt8Block: 2 + 8 / 256 bytes per element. All contiguous,
// on the parameter's device; zeros are moments of zero.
struct Int8Moments {
  at::Tensor exp_avg, exp_avg_sq;                // codes, uint8 [n]
  at::Tensor exp_avg_absmax, exp_avg_sq_absmax;  // float32 [n / 256]

  // Elements [begin, begin + n), both multiples of kInt8Block, as views.
  Int8Moments Narrow(int64_t begin, int64_t n) const;
};

Int8Moments ZeroInt8Moments(int64_t n, c10::Device device);

// Maps and code tables that every update reads: an Int8Tables as uint8 (26 kB) on `device`.
at::Tensor MakeInt8Tables(c10::Device device);

// param, grad: float32 [n], contiguous. `rounded`, if defined, bfloat16 [n], receives param rounded
// to nearest even. `tables`: MakeInt8Tables of the same device. A block's result depends on nothing
// but the block, so neither on threads nor on how a buffer is cut between blocks, and is the same
// bit by bit on the CPU and on CUDA (there: enqueued on the current stream). Gradients are finite:
// one that is not makes the parameters of its block NaN. Throws c10::Error on operands that do not
// match or a length that is no multiple of kInt8Block.
void AdamWInt8Update(at::Tensor param, at::Tensor grad, const Int8Moments& moments,
                     at::Tensor rounded, const at::Tensor& tables, const AdamWStep& step);

}  // namespace fttrain
