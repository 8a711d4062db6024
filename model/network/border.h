// A message between runs of layers of one microbatch: an activation or its gradient, with some
// float64 numbers behind it, as bytes that any copy of the rows leaves as they are.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <utility>

#include "runtime/memory/ledger.h"

namespace fttrain {

// Rows of `row_bytes` that so many numbers take.
int64_t RowsOfNumbers(int64_t numbers, int64_t row_bytes);

// x [R, H] and float64 numbers -> [R + RowsOfNumbers, H], new, booked under `category`.
at::Tensor PackBorder(const at::Tensor& x, const at::Tensor& numbers, MemoryCategory category);

// The rows of such a message, a view, and its `count` numbers [count], new, booked as kSaved.
std::pair<at::Tensor, at::Tensor> UnpackBorder(const at::Tensor& message, int64_t count);

}  // namespace fttrain
