#include "model/matmul/matmul.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <set>
#include <utility>

#include "model/kernels/kernels.h"
#include "model/matmul/few_rows.h"
#include "model/matmul/float32_gemm.h"
#include "runtime/memory/ledger.h"
#include "runtime/memory/uncounted.h"

namespace fttrain {

void CheckShapes(const at::Tensor& out, const MatrixProduct& product) {
  const auto& [a, b, alpha] = product;
  TORCH_CHECK(a.dim() == 2 && out.dim() == 2 && a.size(1) == b.rows() && out.size(0) == a.size(0) &&
                  out.size(1) == b.columns(),
              "product of ", a.sizes(), " and [", b.rows(), ", ", b.columns(), "] into ",
              out.sizes());
}

namespace {

bool IsBf16(const at::Tensor& x) { return x.scalar_type() == at::kBFloat16; }

void MultiplyInto(at::Tensor& product, const at::Tensor& left, const at::Tensor& right) {
  const UncountedScope workspace;
  at::mm_out(product, left, right);
}

// ATen's own GEMM of out's dtype; what is not of that dtype is rounded to it.
void NativeGemm(at::Tensor out, c10::ArrayRef<MatrixProduct> products, bool accumulate) {
  for (const auto& [a, operand, alpha] : products) {
    const at::Tensor b = operand.Dense();
    const at::ScalarType dtype = a.scalar_type() == at::kFloat ? b.scalar_type() : a.scalar_type();
    const at::Tensor left = a.to(dtype), right = b.to(dtype);
    if (out.is_cuda() && out.scalar_type() == at::kFloat && dtype != at::kFloat) {
      // A float32 sum of narrower operands, in cuBLAS's own accumulator; only CUDA has it.
      const UncountedScope workspace;
      at::addmm_out(out, out, left, right, at::kFloat, accumulate ? 1.0 : 0.0, alpha);
    } else if (dtype != out.scalar_type()) {
      at::Tensor product = at::empty(out.sizes(), left.options());
      MultiplyInto(product, left, right);
      if (alpha != 1.0) product.mul_(alpha);
      if (!accumulate) out.zero_();
      AccumulateInto(out, product);
    } else {
      const UncountedScope workspace;
      out.addmm_(left, right, accumulate ? 1.0 : 0.0, alpha);
    }
    accumulate = true;
  }
}

bool UseFloat32(const at::Tensor& tensor, Bf16Gemm backend) {
  return backend == Bf16Gemm::kFloat32 && tensor.is_cpu();
}

// Whether the sum is formed by the float32 GEMM that expands its operands: on the CPU, with a
// bfloat16 operand or result, or an NF4 operand in float32.
bool Expands(const at::Tensor& out, c10::ArrayRef<MatrixProduct> products, Bf16Gemm backend) {
  bool bf16 = IsBf16(out), packed = false;
  for (const MatrixProduct& p : products) {
    bf16 = bf16 || IsBf16(p.a) || p.b.dtype() == at::kBFloat16;
    packed = packed || p.b.packed();
  }
  if (bf16) return UseFloat32(out, backend);
  return packed && ExpandsBlocks(out.device(), out.scalar_type(), backend);
}

}  // namespace

Operand::Operand(Nf4Matrix packed, at::ScalarType dtype, Nf4Ahead* ahead)
    : packed_(std::move(packed)), dtype_(dtype), ahead_(ahead) {}

Operand Operand::t() const {
  Operand other = *this;
  if (packed()) {
    other.transposed_ = !transposed_;
  } else {
    other.dense_ = dense_.t();
  }
  return other;
}

int64_t Operand::rows() const {
  if (!packed()) return dense_.size(0);
  return transposed_ ? packed_->layout.columns : packed_->layout.rows;
}

int64_t Operand::columns() const {
  if (!packed()) return dense_.size(1);
  return transposed_ ? packed_->layout.rows : packed_->layout.columns;
}

bool Operand::IsTransposeOfRows() const {
  if (packed()) return transposed_;
  return dense_.stride(0) == 1 && dense_.stride(1) >= dense_.size(0);
}

at::Tensor Operand::Dense() const {
  if (!packed()) return dense_;
  at::Tensor whole;
  if (ahead_ != nullptr) {
    // A linear multiplies by the transpose forward and by the matrix itself backward.
    whole = ahead_->Get(*packed_, /*backward=*/!transposed_);
  } else {
    const int64_t rows = packed_->layout.rows, columns = packed_->layout.columns;
    whole = at::empty({rows, columns}, packed_->bytes.options().dtype(dtype_));
    DequantizeNf4(*packed_, {0, rows}, {0, columns}, whole);
  }
  return transposed_ ? whole.t() : whole;
}

bool ExpandsBlocks(c10::Device device, at::ScalarType dtype, Bf16Gemm backend) {
  if (!device.is_cpu()) return false;
  return dtype == at::kFloat || (dtype == at::kBFloat16 && backend == Bf16Gemm::kFloat32);
}

void AddProducts(at::Tensor out, c10::ArrayRef<MatrixProduct> products, bool accumulate,
                 Bf16Gemm backend) {
  for (const MatrixProduct& product : products) CheckShapes(out, product);
  const MemoryScope scope(MemoryCategory::kWorkspace);
  if (TakesFewRows(out, products)) {
    MultiplyFewRows(out, products, accumulate, backend);
  } else if (Expands(out, products, backend)) {
    Float32Gemm(products.size()).Run(out, products, accumulate);
  } else {
    NativeGemm(out, products, accumulate);
  }
}

namespace {

// How many different bfloat16 left sides there are.
size_t CountLeftSides(c10::ArrayRef<ProductSum> sums) {
  std::set<const void*> distinct;
  for (const ProductSum& sum : sums) {
    for (const MatrixProduct& product : sum.products) {
      if (IsBf16(product.a)) distinct.insert(product.a.const_data_ptr());
    }
  }
  return distinct.size();
}

}  // namespace

void AddProductSums(c10::ArrayRef<ProductSum> sums, Bf16Gemm backend) {
  const size_t left = CountLeftSides(sums);
  const bool expands = std::all_of(sums.begin(), sums.end(), [&](const ProductSum& sum) {
    return Expands(sum.out, sum.products, backend) && !TakesFewRows(sum.out, sum.products);
  });
  if (left == 0 || !expands) {
    for (const ProductSum& sum : sums) {
      AddProducts(sum.out, sum.products, sum.accumulate, backend);
    }
    return;
  }
  for (const ProductSum& sum : sums) {
    for (const MatrixProduct& product : sum.products) CheckShapes(sum.out, product);
  }
  const MemoryScope scope(MemoryCategory::kWorkspace);
  Float32Gemm gemm(left);
  const Blocks blocks(sums.front().out.size(0), kGemmBlockRows);
  for (int64_t i = 0; i < blocks.count; ++i) {
    const auto [begin, count] = blocks.Of(i);
    for (const ProductSum& sum : sums) {
      std::vector<MatrixProduct> rows = sum.products;
      for (MatrixProduct& product : rows) product.a = product.a.narrow(0, begin, count);
      gemm.Run(sum.out.narrow(0, begin, count), rows, sum.accumulate);
    }
  }
}

at::ScalarType LowRankDtype(c10::Device device, at::ScalarType compute, Bf16Gemm backend) {
  const bool widen = compute == at::kBFloat16 && ExpandsBlocks(device, compute, backend);
  return widen ? at::kFloat : compute;
}

at::Tensor EmptyLowRank(const at::Tensor& a, int64_t columns, Bf16Gemm backend) {
  const at::ScalarType dtype = LowRankDtype(a.device(), a.scalar_type(), backend);
  return at::empty({a.size(0), columns}, a.options().dtype(dtype));
}

void ForRows(const at::Tensor& x, const std::function<void(int64_t, const at::Tensor&)>& body,
             Bf16Gemm backend) {
  if (!UseFloat32(x, backend) || !IsBf16(x)) {
    body(0, x);
    return;
  }
  const MemoryScope scope(MemoryCategory::kWorkspace);
  const Blocks blocks(x.size(0), kGemmBlockRows);
  const at::Tensor scratch =
      at::empty({std::min(blocks.step, x.size(0)) * x.size(1)}, x.options().dtype(at::kFloat));
  for (int64_t i = 0; i < blocks.count; ++i) {
    const auto [begin, count] = blocks.Of(i);
    const at::Tensor rows = x.narrow(0, begin, count);
    const at::Tensor wide = scratch.narrow(0, 0, rows.numel()).view(rows.sizes());
    WidenInto(rows, wide);
    body(begin, wide);
  }
}

}  // namespace fttrain
