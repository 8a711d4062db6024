#include "model/matmul/few_rows.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <atomic>

#include "model/kernels/dispatch.h"
#include "runtime/math/ceil_divide.h"

namespace fttrain {
namespace {

// Rows of an NF4 matrix that a thread has dequantised at a time: they stay in its caches.
constexpr int64_t kPanelRows = 32;

bool IsFloatOrBf16(at::ScalarType type) { return type == at::kFloat || type == at::kBFloat16; }

// alpha a, [M, K], float32 with contiguous rows.
struct LeftSide {
  at::Tensor a;
  float alpha;
};

// sum [M, N] += left b^T; b [N, K] with contiguous rows. One thread.
template <class T>
void Add(const at::Tensor& sum, const LeftSide& left, const at::Tensor& b) {
  RowsOf<T>(SelectedCpuKernels())
      .few_rows({.a = Data<float>(left.a),
                 .b = Data<T>(b),
                 .sum = MutableData<float>(sum),
                 .a_stride = left.a.stride(0),
                 .b_stride = b.stride(0),
                 .sum_stride = sum.stride(0),
                 .rows = left.a.size(0),
                 .columns = b.size(0),
                 .inner = b.size(1),
                 .alpha = left.alpha});
}

void AddAny(const at::Tensor& sum, const LeftSide& left, const at::Tensor& b) {
  if (b.scalar_type() == at::kFloat) return Add<float>(sum, left, b);
  Add<Bf16>(sum, left, b);
}

void AddDense(const at::Tensor& sum, const LeftSide& left, const at::Tensor& b) {
  ParallelItems(b.size(0), b.size(1), [&](int64_t begin, int64_t end) {
    AddAny(sum.narrow(1, begin, end - begin), left, b.narrow(0, begin, end - begin));
  });
}

void AddPacked(const at::Tensor& sum, const LeftSide& left, const Nf4Matrix& b,
               at::ScalarType dtype) {
  const int64_t rows = b.layout.rows, columns = b.layout.columns;
  const int64_t panels = CeilDivide(rows, kPanelRows);
  const int64_t threads = std::min<int64_t>(at::get_num_threads(), panels);
  const at::Tensor scratch =
      at::empty({threads, kPanelRows, columns}, left.a.options().dtype(dtype));
  if (IsRehearsal()) return;
  std::atomic<int64_t> next{0};
  at::parallel_for(0, threads, 1, [&](int64_t thread, int64_t) {
    for (int64_t i = next++; i < panels; i = next++) {
      const int64_t begin = i * kPanelRows, count = std::min(kPanelRows, rows - begin);
      const at::Tensor panel = scratch.select(0, thread).narrow(0, 0, count);
      DequantizeNf4(b, {begin, count}, {0, columns}, panel);
      AddAny(sum.narrow(1, begin, count), left, panel);
    }
  });
}

}  // namespace

bool TakesFewRows(const at::Tensor& out, c10::ArrayRef<MatrixProduct> products) {
  if (!out.is_cpu() || out.size(0) > kFewRows || !IsFloatOrBf16(out.scalar_type())) return false;
  return std::all_of(products.begin(), products.end(), [](const MatrixProduct& product) {
    return IsFloatOrBf16(product.a.scalar_type()) && IsFloatOrBf16(product.b.dtype()) &&
           product.b.IsTransposeOfRows();
  });
}

void MultiplyFewRows(const at::Tensor& out, c10::ArrayRef<MatrixProduct> products, bool accumulate,
                     Bf16Gemm backend) {
  const bool direct = out.scalar_type() == at::kFloat && out.stride(1) == 1;
  const at::Tensor sum = direct ? out : at::empty(out.sizes(), out.options().dtype(at::kFloat));
  if (!accumulate) sum.zero_();
  if (accumulate && !direct) sum.copy_(out);
  for (const auto& [a, b, alpha] : products) {
    // kNative rounds what is not of its partner's dtype.
    const bool rounds = backend == Bf16Gemm::kNative && a.scalar_type() != b.dtype();
    const LeftSide left = {(rounds ? a.to(at::kBFloat16) : a).to(at::kFloat).contiguous(),
                           static_cast<float>(alpha)};
    if (b.packed()) {
      AddPacked(sum, left, b.matrix(), b.dtype());
    } else {
      const at::Tensor rows = b.Dense().t();
      AddDense(sum, left, rounds ? rows.to(at::kBFloat16) : rows);
    }
  }
  if (!direct) out.copy_(sum);
}

}  // namespace fttrain
