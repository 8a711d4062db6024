#include "model/matmul/float32_gemm.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "model/kernels/dispatch.h"
#include "runtime/math/ceil_divide.h"

namespace fttrain {
namespace {

// Columns of a block of the result, and the terms of a dot product summed before the next block of
// operands is expanded. Float32 copies then take at most 16 MiB each for the operands and 4 MiB for
// the result; expanding costs 3 % of the multiplications in the worst case, in which no block is
// used twice.
constexpr int64_t kBlockColumns = 1024, kBlockInner = 4096;

bool IsBf16(const at::Tensor& x) { return x.scalar_type() == at::kBFloat16; }

at::Tensor Block(const at::Tensor& matrix, const Range& rows, const Range& columns) {
  return matrix.narrow(0, rows.offset, rows.extent).narrow(1, columns.offset, columns.extent);
}

// The rows in memory of a block; a transposed block has its columns there.
struct MemoryRows {
  explicit MemoryRows(const at::Tensor& block)
      : transposed(block.stride(0) == 1 && block.stride(1) != 1),
        rows(block.size(transposed ? 1 : 0)),
        columns(block.size(transposed ? 0 : 1)),
        stride(block.stride(transposed ? 1 : 0)) {
    TORCH_CHECK(block.stride(transposed ? 0 : 1) == 1 || columns <= 1,
                "a matrix or its transpose must have contiguous rows, got strides ",
                block.strides());
  }
  bool transposed;
  int64_t rows, columns, stride;
};

// to [rows, columns] float32, contiguous as block is in memory.
void Widen(const at::Tensor& block, float* to) {
  const MemoryRows memory(block);
  const Bf16* from = Data<Bf16>(block);
  ParallelItems(memory.rows, memory.columns, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      SelectedCpuKernels().bfloat16.widen(from + row * memory.stride, to + row * memory.columns,
                                          memory.columns);
    }
  });
}

// The same, back. Only blocks of outputs: never transposed.
void Round(const float* from, const at::Tensor& block) {
  const MemoryRows memory(block);
  Bf16* to = MutableData<Bf16>(block);
  ParallelItems(memory.rows, memory.columns, [&](int64_t begin, int64_t end) {
    for (int64_t row = begin; row < end; ++row) {
      SelectedCpuKernels().bfloat16.round(from + row * memory.columns, to + row * memory.stride,
                                          memory.columns);
    }
  });
}

at::Tensor EmptyFloat(int64_t count) { return at::empty({count}, at::TensorOptions(at::kFloat)); }

}  // namespace

Blocks::Blocks(int64_t size_in, int64_t most) : size(size_in) {
  const int64_t even = std::max<int64_t>(1, CeilDivide(size, most));
  step = std::max<int64_t>(64, CeilDivide(CeilDivide(size, even), 64) * 64);
  count = CeilDivide(size, step);
}

void WidenInto(const at::Tensor& matrix, const at::Tensor& to) {
  Widen(matrix, MutableData<float>(to));
}

void DequantizeWide(const Nf4Matrix& matrix, at::ScalarType dtype, const Range& rows,
                    const Range& columns, const at::Tensor& to) {
  if (dtype == at::kFloat || matrix.rounding() == at::kBFloat16) {
    DequantizeNf4(matrix, rows, columns, to);
    return;
  }
  if (dtype == at::kBFloat16 && matrix.rounding() == at::kFloat) {
    Nf4Matrix rounded = matrix;  // float32 rounded to bfloat16 is what bfloat16 makes of it
    rounded.layout.options.rounding = at::kBFloat16;
    DequantizeNf4(rounded, rows, columns, to);
    return;
  }
  const at::Tensor narrow = at::empty(to.sizes(), to.options().dtype(dtype));
  DequantizeNf4(matrix, rows, columns, narrow);
  Widen(narrow, MutableData<float>(to));
}

ExpandedBlocks::Slot& ExpandedBlocks::Find(const Key& key, const at::Tensor& source, bool& found) {
  Slot* slot = &slots_.front();
  for (Slot& each : slots_) {
    if (each.used < slot->used) slot = &each;
  }
  for (Slot& each : slots_) {
    if (each.source.defined() && each.key == key) slot = &each;
  }
  found = slot->source.defined() && slot->key == key;
  slot->used = ++clock_;
  if (found) return *slot;
  const int64_t count = key.rows * key.columns;
  slot->values = at::Tensor();
  if (!slot->scratch.defined() || slot->scratch.numel() < count) {
    slot->scratch = at::Tensor();  // freed before its successor is allocated
    slot->scratch = EmptyFloat(count);
  }
  const at::Tensor flat = slot->scratch.narrow(0, 0, count);
  slot->key = key;
  slot->source = source;
  slot->values =
      key.row_major ? flat.view({key.rows, key.columns}) : flat.view({key.columns, key.rows}).t();
  return *slot;
}

at::Tensor ExpandedBlocks::Of(const Operand& operand, const Range& rows, const Range& columns) {
  if (!operand.packed()) return OfDense(operand.Dense(), rows, columns);
  const Nf4Matrix& matrix = *operand.packed_;
  const bool row_major = !operand.transposed_;
  bool found = false;
  const Slot& slot = Find({.data = matrix.bytes.const_data_ptr(),
                           .row = rows.offset,
                           .column = columns.offset,
                           .rows = rows.extent,
                           .columns = columns.extent,
                           .row_major = row_major},
                          matrix.bytes, found);
  if (!found && row_major) DequantizeWide(matrix, operand.dtype(), rows, columns, slot.values);
  if (!found && !row_major) DequantizeWide(matrix, operand.dtype(), columns, rows, slot.values.t());
  return slot.values;
}

at::Tensor ExpandedBlocks::OfDense(const at::Tensor& matrix, const Range& rows,
                                   const Range& columns) {
  const at::Tensor block = Block(matrix, rows, columns);
  if (block.scalar_type() == at::kFloat) return block;
  // Laid out as the source is, so that expanding reads and writes along rows.
  const MemoryRows memory(block);
  bool found = false;
  const Slot& slot = Find({.data = block.const_data_ptr(),
                           .rows = rows.extent,
                           .columns = columns.extent,
                           .row_major = !memory.transposed,
                           .stride = memory.stride},
                          block, found);
  if (!found) Widen(block, MutableData<float>(slot.values));
  return slot.values;
}

void Float32Gemm::Run(const at::Tensor& out, c10::ArrayRef<MatrixProduct> products,
                      bool accumulate) {
  const bool direct = out.scalar_type() == at::kFloat;
  // Rows are cut to bound what is copied of them. Where nothing is, the right sides are expanded
  // only once.
  const bool cut = !direct || std::any_of(products.begin(), products.end(),
                                          [](const MatrixProduct& p) { return IsBf16(p.a); });
  const Blocks rows(out.size(0), cut ? kGemmBlockRows : out.size(0) + 1);
  const Blocks columns(out.size(1), kBlockColumns);
  at::Tensor scratch;
  if (!direct) scratch = EmptyFloat(rows.step * columns.step);
  for (int64_t i = 0; i < rows.count; ++i) {
    for (int64_t j = 0; j < columns.count; ++j) {
      const Range block_rows = rows.Of(i), block_columns = columns.Of(j);
      at::Tensor block = Block(out, block_rows, block_columns), sum = block;
      if (!direct) {
        sum = scratch.narrow(0, 0, block.numel()).view(block.sizes());
        if (accumulate) Widen(block, MutableData<float>(sum));
      }
      Sum(sum, products, block_rows, block_columns, accumulate);
      if (!direct) Round(Data<float>(sum), block);
    }
  }
}

void Float32Gemm::Sum(const at::Tensor& sum, c10::ArrayRef<MatrixProduct> products,
                      const Range& rows, const Range& columns, bool accumulate) {
  for (const MatrixProduct& product : products) {
    const Blocks inner(product.a.size(1), kBlockInner);
    for (int64_t k = 0; k < inner.count; ++k, accumulate = true) {
      const Range terms = inner.Of(k);
      sum.addmm_(a_.OfDense(product.a, rows, terms), b_.Of(product.b, terms, columns),
                 accumulate ? 1.0 : 0.0, product.alpha);
    }
  }
  if (!accumulate) sum.zero_();  // no terms at all: the product of [M, 0] and [0, N]
}

}  // namespace fttrain
