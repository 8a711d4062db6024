#include "model/matmul.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cstdlib>
#include <string_view>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

#include "model/kernel_dispatch.h"
#include "model/kernels.h"
#include "parallel/param.h"
#include "runtime/memory_ledger.h"

namespace fttrain {
namespace {

// Rows and columns of a block of the result, and the terms of a dot product summed before the next
// block of operands is expanded. Float32 copies then take at most 16 MiB each for the operands and
// 4 MiB for the result; expanding costs 3 % of the multiplications in the worst case, in which no
// block is used twice.
constexpr int64_t kBlockRows = 1024, kBlockColumns = 1024, kBlockInner = 4096;

struct Blocks {
  int64_t size, count, step;
  Range Of(int64_t index) const {
    const int64_t offset = index * step;
    return {offset, std::min(step, size - offset)};
  }
};

// Even blocks, so that none is a thin remainder; whole cache lines.
Blocks Split(int64_t size, int64_t most) {
  const int64_t even = std::max<int64_t>(1, (size + most - 1) / most);
  const int64_t step = std::max<int64_t>(16, ((size + even - 1) / even + 15) / 16 * 16);
  return {size, (size + step - 1) / step, step};
}

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

// Float32 copies of blocks of one operand. The last one is kept: consecutive blocks of the result
// often share an operand's.
class Expanded {
 public:
  at::Tensor Of(const at::Tensor& matrix, const Range& rows, const Range& columns) {
    const at::Tensor block = Block(matrix, rows, columns);
    if (block.scalar_type() == at::kFloat) return block;
    const bool same = source_.defined() && source_.data_ptr() == block.data_ptr() &&
                      source_.sizes() == block.sizes() && source_.strides() == block.strides();
    if (same) return last_;
    // Laid out as the source is, so that expanding reads and writes along rows.
    const bool transposed = MemoryRows(block).transposed;
    const int64_t count = block.numel();
    if (!scratch_.defined() || scratch_.numel() < count) {
      scratch_ = at::Tensor();
      scratch_ = at::empty({count}, block.options().dtype(at::kFloat));
    }
    const at::Tensor flat = scratch_.narrow(0, 0, count);
    last_ = transposed ? flat.view({block.size(1), block.size(0)}).t() : flat.view(block.sizes());
    Widen(block, MutableData<float>(flat));
    source_ = block;
    return last_;
  }

 private:
  at::Tensor scratch_, last_;
  at::Tensor source_;  // held, so that its address stays its own
};

void CheckShapes(const at::Tensor& out, const MatrixProduct& product) {
  const auto& [a, b, alpha] = product;
  TORCH_CHECK(a.dim() == 2 && b.dim() == 2 && out.dim() == 2 && a.size(1) == b.size(0) &&
                  out.size(0) == a.size(0) && out.size(1) == b.size(1),
              "product of ", a.sizes(), " and ", b.sizes(), " into ", out.sizes());
}

class Float32Gemm {
 public:
  void Run(const at::Tensor& out, std::initializer_list<MatrixProduct> products, bool accumulate) {
    const Blocks rows = Split(out.size(0), kBlockRows), columns = Split(out.size(1), kBlockColumns);
    const bool direct = out.scalar_type() == at::kFloat;
    at::Tensor scratch;
    if (!direct) {
      scratch = at::empty({rows.step * columns.step}, out.options().dtype(at::kFloat));
    }
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

 private:
  void Sum(at::Tensor& sum, std::initializer_list<MatrixProduct> products, const Range& rows,
           const Range& columns, bool accumulate) {
    for (const MatrixProduct& product : products) {
      const Blocks inner = Split(product.a.size(1), kBlockInner);
      for (int64_t k = 0; k < inner.count; ++k, accumulate = true) {
        const Range terms = inner.Of(k);
        sum.addmm_(a_.Of(product.a, rows, terms), b_.Of(product.b, terms, columns),
                   accumulate ? 1.0 : 0.0, product.alpha);
      }
    }
    if (!accumulate) sum.zero_();  // no terms at all: the product of [M, 0] and [0, N]
  }

  Expanded a_, b_;
};

// ATen's own GEMM of out's dtype; what is not of that dtype is rounded to it.
void NativeGemm(at::Tensor out, std::initializer_list<MatrixProduct> products, bool accumulate) {
  for (const auto& [a, b, alpha] : products) {
    const at::ScalarType dtype = a.scalar_type() == at::kFloat ? b.scalar_type() : a.scalar_type();
    if (dtype != out.scalar_type()) {
      at::Tensor product = at::mm(a.to(dtype), b.to(dtype));
      if (alpha != 1.0) product.mul_(alpha);
      if (!accumulate) out.zero_();
      AccumulateInto(out, product);
    } else {
      out.addmm_(a.to(dtype), b.to(dtype), accumulate ? 1.0 : 0.0, alpha);
    }
    accumulate = true;
  }
}

bool UseFloat32(const at::Tensor& tensor, Bf16Gemm backend) {
  return backend == Bf16Gemm::kFloat32 && tensor.is_cpu();
}

bool AnyBf16(const at::Tensor& out, std::initializer_list<MatrixProduct> products) {
  const auto is_bf16 = [](const at::Tensor& t) { return t.scalar_type() == at::kBFloat16; };
  return is_bf16(out) || std::any_of(products.begin(), products.end(), [&](const MatrixProduct& p) {
           return is_bf16(p.a) || is_bf16(p.b);
         });
}

#if defined(__x86_64__)
// AMX needs the system's leave to save its tiles, and Linux's is asked for by whoever uses them:
// what counts here is that the state is enabled.
bool TilesEnabled() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  constexpr unsigned kOsXsave = 1u << 27, kTileStates = 3u << 17;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || (c & kOsXsave) == 0) return false;
  unsigned low = 0, high = 0;
  __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (low & kTileStates) == kTileStates;
}

CpuFeatures ThisCpu() {
  CpuFeatures features;
  unsigned a = 0, b = 0, c = 0, d = 0;
  features.intel = __builtin_cpu_is("intel") != 0;
  features.avx512_bf16 = __builtin_cpu_supports("avx512bf16") != 0;
  constexpr unsigned kAmxBf16 = 1u << 22;
  features.amx_bf16 =
      __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d & kAmxBf16) != 0 && TilesEnabled();
  return features;
}
#else
// No comparison has been made on other processors: their library's own choice.
CpuFeatures ThisCpu() { return {.avx512_bf16 = true}; }
#endif

}  // namespace

Bf16Gemm PreferredBf16Gemm(const CpuFeatures& features) {
  const bool native = features.amx_bf16 || (features.avx512_bf16 && !features.intel);
  return native ? Bf16Gemm::kNative : Bf16Gemm::kFloat32;
}

Bf16Gemm DefaultBf16Gemm() {
  static const Bf16Gemm backend = [] {
    const char* choice = std::getenv("FTTRAIN_BF16_GEMM");
    if (choice == nullptr) return PreferredBf16Gemm(ThisCpu());
    const std::string_view name = choice;
    TORCH_CHECK(name == "native" || name == "float32", "FTTRAIN_BF16_GEMM=", choice,
                ": expected native or float32");
    return name == "native" ? Bf16Gemm::kNative : Bf16Gemm::kFloat32;
  }();
  return backend;
}

const char* Bf16GemmName(Bf16Gemm backend) {
  return backend == Bf16Gemm::kNative ? "native" : "float32";
}

void AddProducts(at::Tensor out, std::initializer_list<MatrixProduct> products, bool accumulate,
                 Bf16Gemm backend) {
  for (const MatrixProduct& product : products) CheckShapes(out, product);
  const MemoryScope scope(MemoryCategory::kWorkspace);
  if (UseFloat32(out, backend) && AnyBf16(out, products)) {
    Float32Gemm().Run(out, products, accumulate);
  } else {
    NativeGemm(out, products, accumulate);
  }
}

namespace {

at::Tensor EmptyLow(const at::Tensor& a, const at::Tensor& down, Bf16Gemm backend) {
  const bool widen = UseFloat32(a, backend) && a.scalar_type() == at::kBFloat16;
  const at::ScalarType dtype = widen ? at::kFloat : a.scalar_type();
  return at::empty({a.size(0), down.size(1)}, a.options().dtype(dtype));
}

}  // namespace

at::Tensor LowRankProduct(const MatrixProduct& product, Bf16Gemm backend) {
  at::Tensor low = EmptyLow(product.a, product.b, backend);
  AddProducts(low, {product}, /*accumulate=*/false, backend);
  return low;
}

at::Tensor AddAdaptedProduct(at::Tensor out, const AdaptedProduct& product, bool accumulate,
                             Bf16Gemm backend) {
  const auto& [a, base, down, up, down_scale, up_scale] = product;
  at::Tensor low = EmptyLow(a, down, backend);
  if (!UseFloat32(out, backend) || a.scalar_type() != at::kBFloat16) {
    AddProducts(low, {{a, down, down_scale}}, /*accumulate=*/false, backend);
    AddProducts(out, {{a, base}, {low, up, up_scale}}, accumulate, backend);
    return low;
  }
  CheckShapes(low, {a, down});
  CheckShapes(out, {a, base});
  CheckShapes(out, {low, up});
  const MemoryScope scope(MemoryCategory::kWorkspace);
  Float32Gemm gemm;
  const Blocks blocks = Split(a.size(0), kBlockRows);
  for (int64_t i = 0; i < blocks.count; ++i) {
    const auto [begin, count] = blocks.Of(i);
    const at::Tensor rows = a.narrow(0, begin, count), low_rows = low.narrow(0, begin, count);
    gemm.Run(low_rows, {{rows, down, down_scale}}, /*accumulate=*/false);
    gemm.Run(out.narrow(0, begin, count), {{rows, base}, {low_rows, up, up_scale}}, accumulate);
  }
  return low;
}

}  // namespace fttrain
