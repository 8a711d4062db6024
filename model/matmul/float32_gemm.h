// The float32 GEMM on the CPU behind matmul.h: blocks of bfloat16 and NF4 operands are expanded to
// float32, multiplied by ATen's GEMM and, for a bfloat16 result, rounded once. Also behind
// weight_matrix.h.
#pragma once

#include <vector>

#include "model/matmul/matmul.h"
#include "parallel/layout/param.h"

namespace fttrain {

// Even pieces of [0, size), so that none is a thin remainder; whole cache lines and NF4 blocks.
struct Blocks {
  Blocks(int64_t size, int64_t most);
  int64_t size, count, step;
  Range Of(int64_t index) const {
    const int64_t offset = index * step;
    return {offset, offset + step <= size ? step : size - offset};
  }
};

// Rows of a block of the result.
inline constexpr int64_t kGemmBlockRows = 1024;

// A bfloat16 matrix with contiguous rows to contiguous float32.
void WidenInto(const at::Tensor& matrix, const at::Tensor& to);

// A rectangle as a GEMM in `dtype` (float32 or bfloat16) would see it, in float32: `to` [rows,
// columns], contiguous.
void DequantizeWide(const Nf4Matrix& matrix, at::ScalarType dtype, const Range& rows,
                    const Range& columns, const at::Tensor& to);

// Float32 copies of blocks of operands. The last ones are kept, as many as there are slots:
// consecutive blocks of the result often share them.
class ExpandedBlocks {
 public:
  explicit ExpandedBlocks(size_t slots) : slots_(slots) {}
  at::Tensor Of(const Operand& operand, const Range& rows, const Range& columns);
  at::Tensor OfDense(const at::Tensor& matrix, const Range& rows, const Range& columns);

 private:
  struct Key {
    const void* data = nullptr;
    int64_t row = 0, column = 0, rows = 0, columns = 0;
    bool row_major = true;
    int64_t stride = 0;
    bool operator==(const Key&) const = default;
  };
  struct Slot {
    Key key;
    at::Tensor source;  // held, so that its address stays its own
    at::Tensor scratch, values;
    int64_t used = -1;
  };
  // The slot that has the key, or else the one used longest ago, with room for the block.
  Slot& Find(const Key& key, const at::Tensor& source, bool& found);

  std::vector<Slot> slots_;
  int64_t clock_ = 0;
};

class Float32Gemm {
 public:
  // `left` (at least 1): bfloat16 left sides that are in use together.
  explicit Float32Gemm(size_t left) : a_(left), b_(1) {}
  // As AddProducts; what is expanded for one Run is still there for the next.
  void Run(const at::Tensor& out, c10::ArrayRef<MatrixProduct> products, bool accumulate);

 private:
  void Sum(const at::Tensor& sum, c10::ArrayRef<MatrixProduct> products, const Range& rows,
           const Range& columns, bool accumulate);
  ExpandedBlocks a_, b_;
};

}  // namespace fttrain
