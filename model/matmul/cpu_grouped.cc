#include "model/matmul/cpu_grouped.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <atomic>
#include <utility>

#include "model/kernels/dispatch.h"
#include "model/matmul/few_rows.h"
#include "runtime/memory/ledger.h"

namespace fttrain {
namespace {

// Multiplications that are worth another thread.
constexpr int64_t kWorthAThread = int64_t{1} << 17;

bool LiesByRows(const at::Tensor& x) { return x.stride(1) == 1; }

// Whether the machine multiplies the dtype best by these loops.
bool HasGain(at::ScalarType type, Bf16Gemm backend) {
  if (type != at::kBFloat16) return type == at::kDouble || type == at::kFloat;
  return backend == Bf16Gemm::kNative && !ThisCpu().amx_bf16;
}

// Bytes that a thread works in for a product; 0: the loops do not take it as it is and lies.
int64_t WorkspaceBytes(const at::Tensor& out, const MatrixProduct& product, Bf16Gemm backend) {
  const auto& [a, b, alpha] = product;
  const at::ScalarType type = out.scalar_type();
  if (a.scalar_type() != type || b.dtype() != type || !HasGain(type, backend)) return 0;
  if (!LiesByRows(out) || !LiesByRows(a)) return 0;
  if (!b.packed() && !LiesByRows(b.Dense()) && !b.IsTransposeOfRows()) return 0;
  int64_t bytes = 0;
  WithElementType(out, [&]<class T>(T) {
    bytes = RowsOf<T>(SelectedCpuKernels()).block_product_workspace(b.rows());
  });
  return bytes;
}

// Beside them, for the piece of a matrix that is dequantised.
int64_t PanelBytes(const Operand& b) {
  if (!b.packed()) return 0;
  return b.rows() * kProductColumns * static_cast<int64_t>(c10::elementSize(b.dtype()));
}

// What threads work in, [threads, bytes], either of no bytes where it is not needed.
struct Scratch {
  at::Tensor workspaces, panels;
};

// For all products of a group's sums, of which others have the like.
Scratch MakeScratch(const std::vector<ProductSum>& sums, Bf16Gemm backend) {
  int64_t workspace = 0, panel = 0;
  for (const ProductSum& sum : sums) {
    for (const MatrixProduct& product : sum.products) {
      const int64_t bytes = WorkspaceBytes(sum.out, product, backend);
      if (bytes == 0) continue;
      workspace = std::max(workspace, bytes);
      panel = std::max(panel, PanelBytes(product.b));
    }
  }
  const int64_t threads = at::get_num_threads();
  const at::TensorOptions options = sums.front().out.options().dtype(at::kByte);
  return {at::empty({threads, workspace}, options), at::empty({threads, panel}, options)};
}

bool IsTaken(const OneProduct& one, const Scratch& scratch, Bf16Gemm backend) {
  CheckShapes(one.out, one.product);
  const int64_t bytes = WorkspaceBytes(one.out, one.product, backend);
  return bytes > 0 && bytes <= scratch.workspaces.size(1) &&
         PanelBytes(one.product.b) <= scratch.panels.size(1);
}

// The columns [begin, begin + count) of a product.
template <class T>
void FormPiece(const OneProduct& one, int64_t begin, int64_t count, const Scratch& scratch,
               int64_t thread) {
  const auto& [a, b, alpha] = one.product;
  at::Tensor right;  // [inner, count]
  if (b.packed()) {
    const Range whole = {0, b.rows()}, part = {begin, count};
    const at::Tensor panel =
        scratch.panels.select(0, thread).view(b.dtype()).narrow(0, 0, b.rows() * count);
    const bool by_columns = b.IsTransposeOfRows();
    right = by_columns ? panel.view({count, b.rows()}) : panel.view({b.rows(), count});
    DequantizeNf4(b.matrix(), by_columns ? part : whole, by_columns ? whole : part, right);
    if (by_columns) right = right.t();
  } else {
    right = b.Dense().narrow(1, begin, count);
  }
  const bool by_rows = right.stride(1) == 1;
  RowsOf<T>(SelectedCpuKernels())
      .block_product({.a = Data<T>(a),
                      .b = Data<T>(right),
                      .out = MutableData<T>(one.out) + begin,
                      .a_stride = a.stride(0),
                      .b_stride = right.stride(by_rows ? 0 : 1),
                      .out_stride = one.out.stride(0),
                      .rows = a.size(0),
                      .columns = count,
                      .inner = a.size(1),
                      .b_by_rows = by_rows,
                      .accumulate = one.accumulate,
                      .alpha = static_cast<typename StatisticsOf<T>::Type>(alpha)},
                     scratch.workspaces.select(0, thread).mutable_data_ptr());
}

void FormWave(c10::ArrayRef<OneProduct> wave, const Scratch& scratch) {
  if (IsRehearsal()) return;
  struct Piece {
    const OneProduct* one;
    int64_t begin, count;
  };
  std::vector<Piece> pieces;
  int64_t work = 0;
  for (const OneProduct& one : wave) {
    const int64_t columns = one.out.size(1);
    for (int64_t begin = 0; begin < columns; begin += kProductColumns) {
      pieces.push_back({&one, begin, std::min(kProductColumns, columns - begin)});
    }
    work += one.out.numel() * one.product.b.rows();
  }
  const int64_t threads =
      std::min<int64_t>({scratch.workspaces.size(0), std::ssize(pieces), 1 + work / kWorthAThread});
  std::atomic<size_t> next{0};
  at::parallel_for(0, threads, 1, [&](int64_t thread, int64_t) {
    WithElementType(wave.front().out, [&]<class T>(T) {
      for (size_t i = next++; i < pieces.size(); i = next++) {
        FormPiece<T>(*pieces[i].one, pieces[i].begin, pieces[i].count, scratch, thread);
      }
    });
  });
}

// Whether they have few rows together, and loops of their own (few_rows.h).
bool HaveFewRows(c10::ArrayRef<std::vector<ProductSum>> groups) {
  int64_t rows = 0;
  for (const std::vector<ProductSum>& group : groups) rows += group.front().out.size(0);
  const std::vector<ProductSum>& sums = groups.front();
  return rows <= kFewRows && std::all_of(sums.begin(), sums.end(), [](const ProductSum& sum) {
           return TakesFewRows(sum.out, sum.products);
         });
}

}  // namespace

bool AddGroupedOnCpu(c10::ArrayRef<std::vector<ProductSum>> groups, Bf16Gemm backend) {
  if (HaveFewRows(groups)) return false;
  const MemoryScope scope(MemoryCategory::kWorkspace);
  const Scratch scratch = MakeScratch(groups.front(), backend);
  if (scratch.workspaces.numel() == 0) return false;
  const auto form = [&](c10::ArrayRef<OneProduct> wave) {
    const bool taken = std::all_of(wave.begin(), wave.end(), [&](const OneProduct& one) {
      return IsTaken(one, scratch, backend);
    });
    if (taken) FormWave(wave, scratch);
    return taken;
  };
  ForEachWave(groups, form, backend);
  return true;
}

}  // namespace fttrain
