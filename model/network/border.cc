#include "model/network/border.h"

#include <ATen/ATen.h>

#include "runtime/math/ceil_divide.h"

namespace fttrain {
namespace {

constexpr auto kNumberBytes = static_cast<int64_t>(sizeof(double));

int64_t RowBytes(const at::Tensor& x) { return x.size(1) * x.element_size(); }

// The bytes of a message that its numbers are in, a view.
at::Tensor BytesOfNumbers(const at::Tensor& message, int64_t rows, int64_t count) {
  return message.view(at::kByte).view(-1).narrow(0, rows * RowBytes(message), count * kNumberBytes);
}

}  // namespace

int64_t RowsOfNumbers(int64_t numbers, int64_t row_bytes) {
  return CeilDivide(numbers * kNumberBytes, row_bytes);
}

at::Tensor PackBorder(const at::Tensor& x, const at::Tensor& numbers, MemoryCategory category) {
  const int64_t rows = x.size(0), more = RowsOfNumbers(numbers.numel(), RowBytes(x));
  const MemoryScope scope(category);
  const at::Tensor message = at::empty({rows + more, x.size(1)}, x.options());
  message.narrow(0, 0, rows).copy_(x);
  message.narrow(0, rows, more).zero_();
  BytesOfNumbers(message, rows, numbers.numel()).copy_(numbers.view(-1).view(at::kByte));
  return message;
}

std::pair<at::Tensor, at::Tensor> UnpackBorder(const at::Tensor& message, int64_t count) {
  const int64_t rows = message.size(0) - RowsOfNumbers(count, RowBytes(message));
  const MemoryScope scope(MemoryCategory::kSaved);
  const at::Tensor numbers = at::empty({count}, message.options().dtype(at::kDouble));
  numbers.view(at::kByte).copy_(BytesOfNumbers(message, rows, count));
  return {message.narrow(0, 0, rows), numbers};
}

}  // namespace fttrain
