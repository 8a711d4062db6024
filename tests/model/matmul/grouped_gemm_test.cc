// Sums of several experts together: what cuBLAS is asked for is carried out here by its
// documentation (cublasGemmGroupedBatchedEx), and compared with each sum alone.
#include "model/matmul/grouped_gemm.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gmock/gmock.h>

#include <set>
#include <string>
#include <vector>

#include "model/kernels/dispatch.h"
#include "model/matmul/cpu_grouped.h"
#include "model/matmul/cublas_grouped.h"
#include "runtime/memory/ledger.h"
#include "tests/model/nf4_matrices.h"
#include "tests/test_device.h"

namespace fttrain {
namespace {

at::Tensor Values(at::IntArrayRef shape, uint64_t seed) {
  return Randn(shape, at::kBFloat16, seed);
}

// A column-major matrix [rows, columns] in memory.
at::Tensor Column(const void* at, int64_t rows, int64_t columns, int64_t stride) {
  EXPECT_GE(stride, rows);
  return at::from_blob(const_cast<void*>(at), {rows, columns}, {1, stride}, at::kBFloat16);
}

// C = alpha op(A) op(B) + beta C of each, summed in float32.
bool ByDocumentation(const GroupedGemm& gemm) {
  std::set<const void*> results;
  for (size_t i = 0; i < gemm.m.size(); ++i) {
    const auto of = [&](const void* at, bool transposed, int rows, int columns, int stride) {
      return transposed ? Column(at, columns, rows, stride).t() : Column(at, rows, columns, stride);
    };
    const at::Tensor a = of(gemm.a[i], gemm.transpose_a[i], gemm.m[i], gemm.k[i], gemm.lda[i]);
    const at::Tensor b = of(gemm.b[i], gemm.transpose_b[i], gemm.k[i], gemm.n[i], gemm.ldb[i]);
    const at::Tensor c = Column(gemm.c[i], gemm.m[i], gemm.n[i], gemm.ldc[i]);
    at::Tensor sum = a.to(at::kFloat).mm(b.to(at::kFloat)).mul_(gemm.alpha[i]);
    if (gemm.beta[i] != 0) sum.add_(c.to(at::kFloat), gemm.beta[i]);
    c.copy_(sum);
    EXPECT_TRUE(results.insert(gemm.c[i]).second) << "two results in one place";
    for (const void* address : {gemm.a[i], gemm.b[i], static_cast<const void*>(gemm.c[i])}) {
      EXPECT_EQ(reinterpret_cast<uintptr_t>(address) % 16, 0U);
    }
  }
  return true;
}

// An expert with an adapter of rank 8 on one linear: its rows are rows of what all experts have.
struct Expert {
  at::Tensor x, w, a, b, low, y, dx;
  static Expert Of(int64_t rows, uint64_t seed) {
    constexpr int64_t kIn = 48, kOut = 72, kRank = 8;
    const auto in_all = [&](int64_t columns, uint64_t s) {
      return Values({rows + 3, columns}, s).narrow(0, 2, rows);
    };
    Expert expert = {in_all(kIn, seed),
                     Values({kOut, kIn}, seed + 1),
                     Values({kRank, kIn}, seed + 2),
                     Values({kOut, kRank}, seed + 3),
                     in_all(kRank, seed + 4),
                     in_all(kOut, seed + 5),
                     in_all(kIn, seed + 6)};
    return expert;
  }
  // Its own results, on the same operands.
  Expert Alone() const {
    Expert alone = *this;
    alone.low = low.clone(), alone.y = y.clone(), alone.dx = dx.clone();
    return alone;
  }
  std::vector<ProductSum> Forward() const {
    return {{low, {{x, a.t()}}}, {y, {{x, w.t()}, {low, b.t(), 0.5}}, /*accumulate=*/true}};
  }
  std::vector<ProductSum> Backward() const { return {{dx, {{y, w}, {low, a, 2.0}}}}; }
};

std::vector<Expert> Experts(size_t count) {
  std::vector<Expert> experts;
  for (size_t i = 0; i < count; ++i) {
    experts.push_back(Expert::Of(static_cast<int64_t>(1 + i * 7 % 40), 100 * i));
  }
  return experts;
}

std::vector<std::vector<ProductSum>> Sums(const std::vector<Expert>& experts, bool backward) {
  std::vector<std::vector<ProductSum>> sums;
  for (const Expert& e : experts) sums.push_back(backward ? e.Backward() : e.Forward());
  return sums;
}

// Sums in float32 have an order of their own: a last place of what is rounded twice.
void ExpectNear(const at::Tensor& got, const at::Tensor& want) {
  const double largest = Wide(want).abs().max().item<double>();
  EXPECT_LE((Wide(got) - Wide(want)).abs().max().item<double>(), largest / 128);
}

void ExpectEachAlone(const std::vector<Expert>& experts,
                     const std::function<void(c10::ArrayRef<std::vector<ProductSum>>)>& form) {
  std::vector<Expert> alone;
  for (const Expert& e : experts) alone.push_back(e.Alone());
  for (const bool backward : {false, true}) {
    form(Sums(experts, backward));
    for (const Expert& e : alone) {
      for (const ProductSum& sum : backward ? e.Backward() : e.Forward()) {
        AddProducts(sum.out, sum.products, sum.accumulate, Bf16Gemm::kNative);
      }
    }
  }
  for (size_t i = 0; i < experts.size(); ++i) {
    SCOPED_TRACE("expert " + std::to_string(i));
    ExpectNear(experts[i].low, alone[i].low);
    ExpectNear(experts[i].y, alone[i].y);
    ExpectNear(experts[i].dx, alone[i].dx);
  }
}

TEST(GroupedGemm, WhatCublasIsAskedForAreTheSums) {
  for (const size_t count : {2, 5, 65}) {
    std::vector<int> calls;
    ExpectEachAlone(Experts(count), [&](c10::ArrayRef<std::vector<ProductSum>> groups) {
      AddInWaves(groups, [&](const GroupedGemm& gemm) {
        calls.push_back(gemm.count());
        return ByDocumentation(gemm);
      });
    });
    // Three products forward and two backward, in calls of kMostGrouped at most.
    const auto most = static_cast<int>(count);
    EXPECT_EQ(calls.size(), 5 * ((count + kMostGrouped - 1) / kMostGrouped));
    EXPECT_EQ(calls.front(), std::min(most, kMostGrouped));
  }
}

TEST(GroupedGemm, WhereCublasDoesNotTakeThemEachIsFormedAlone) {
  int asked = 0;
  ExpectEachAlone(Experts(5), [&](c10::ArrayRef<std::vector<ProductSum>> groups) {
    AddInWaves(groups, [&](const GroupedGemm&) { return ++asked == 0; });
  });
  EXPECT_EQ(asked, 5);
}

TEST(GroupedGemm, EveryWayToLieIsTaken) {
  const auto rows = [](int64_t r, int64_t c, uint64_t seed) { return Values({r, c}, seed); };
  for (const bool a_by_rows : {true, false}) {
    for (const bool b_by_rows : {true, false}) {
      for (const bool accumulate : {true, false}) {
        const at::Tensor a = a_by_rows ? rows(16, 24, 1) : rows(24, 16, 1).t();
        const at::Tensor b = b_by_rows ? rows(24, 40, 2) : rows(40, 24, 2).t();
        // Columns of a wider matrix.
        const at::Tensor out = rows(16, 64, 3).narrow(1, 8, 40), want = out.clone();
        const MatrixProduct product = {a, b, 0.25};
        ASSERT_TRUE(CanBeGrouped(out, product));
        GroupedGemm gemm;
        Append(out, product, accumulate, gemm);
        ByDocumentation(gemm);
        AddProducts(want, {product}, accumulate, Bf16Gemm::kNative);
        ExpectNear(out, want);
      }
    }
  }
}

TEST(GroupedGemm, WhatCublasCannotTakeIsNotAskedOfIt) {
  const at::Tensor a = Values({16, 24}, 1), b = Values({24, 40}, 2), out = Values({16, 40}, 3);
  EXPECT_TRUE(CanBeGrouped(out, {a, b}));
  EXPECT_FALSE(CanBeGrouped(out.to(at::kFloat), {a, b}));
  EXPECT_FALSE(CanBeGrouped(out, {a.to(at::kFloat), b}));
  EXPECT_FALSE(CanBeGrouped(out, {a, b.to(at::kFloat)}));
  EXPECT_FALSE(CanBeGrouped(Values({40, 16}, 3).t(), {a, b})) << "by columns";
  EXPECT_FALSE(CanBeGrouped(out, {Values({16, 48}, 1).slice(1, 0, 48, 2), b})) << "with gaps";
  EXPECT_FALSE(CanBeGrouped(out, {Values({16, 32}, 1).narrow(1, 4, 24), b})) << "8 bytes off";
  EXPECT_FALSE(CanBeGrouped(out, {a, Values({24, 41}, 2).narrow(1, 0, 40)})) << "rows of 82 bytes";
  EXPECT_FALSE(CanBeGrouped(Values({16, 44}, 3).narrow(1, 4, 40), {a, b}));
  EXPECT_FALSE(CanBeGrouped(out.narrow(0, 0, 0), {a.narrow(0, 0, 0), b})) << "no rows";
  const Nf4Matrix packed =
      QuantizedNf4(Randn({24, 64}, at::kFloat, 4).cpu(), WholeParam("w", {24, 64}), {});
  EXPECT_FALSE(CanBeGrouped(Values({16, 64}, 5), {a, Operand(packed, at::kBFloat16)}));
}

// One that is not leaves the others of its wave, and sums after it, as they are alone.
TEST(GroupedGemm, OneThatCannotBeGroupedIsNoReasonForAnotherResult) {
  std::vector<Expert> experts = Experts(4);
  experts[2].low = Values({experts[2].x.size(0), 12}, 9).narrow(1, 4, 8);  // 8 bytes off
  ExpectEachAlone(experts, [&](c10::ArrayRef<std::vector<ProductSum>> groups) {
    AddInWaves(groups, ByDocumentation);
  });
}

TEST(GroupedGemm, GroupsThatAreNotAlikeAreRefused) {
  const std::vector<Expert> experts = Experts(2);
  const std::vector<std::vector<ProductSum>> sums = {experts[0].Forward(), experts[1].Backward()};
  EXPECT_THROW(AddInWaves(sums, ByDocumentation), c10::Error);
}

// On a GPU by cuBLAS itself, which is seen to take them.
TEST(GroupedSums, AreEachAlone) {
  for (const size_t count : {1, 2, 65}) {
    ExpectEachAlone(Experts(count),
                    [](c10::ArrayRef<std::vector<ProductSum>> groups) { AddGroupedSums(groups); });
  }
  AddGroupedSums({});
  if (TestDevice().is_cpu()) return;
  const at::Tensor table =
      at::empty({3 * kMostGrouped}, at::TensorOptions(TestDevice()).dtype(at::kLong));
  int calls = 0;
  ExpectEachAlone(Experts(5), [&](c10::ArrayRef<std::vector<ProductSum>> groups) {
    AddInWaves(groups, [&](const GroupedGemm& gemm) {
      ++calls;
      const bool taken = RunOnCublas(gemm, table);
      EXPECT_TRUE(taken);
      return taken;
    });
  });
  EXPECT_EQ(calls, 5);
}

// However a long sum is split, it is rounded once.
TEST(GroupedSums, AddUpInFloat32) {
  std::vector<std::vector<ProductSum>> sums;
  for (uint64_t e = 0; e < 3; ++e) {
    const at::Tensor x = Values({8, 8192}, 2 * e).abs(), w = Values({16, 8192}, 2 * e + 1).abs();
    sums.push_back({{at::empty({8, 16}, x.options()), {{x, w.t()}}}});
  }
  AddGroupedSums(sums);
  for (const std::vector<ProductSum>& sum : sums) {
    const MatrixProduct& product = sum[0].products[0];
    const at::Tensor want = Wide(product.a).mm(Wide(product.b.Dense()));
    const at::Tensor error = (Wide(sum[0].out) - want).abs() / want;
    EXPECT_LE(error.max().item<double>(), 1.01 / 256);
  }
}

// Rows of each expert, in a dtype, with an NF4 matrix or a dense one, and an adapter's factors.
struct OfDtype {
  at::ScalarType type;
  bool nf4;
  int64_t rows(size_t i) const { return static_cast<int64_t>(1 + i * 29 % 150); }
  at::Tensor Of(at::IntArrayRef shape, uint64_t seed) const {
    return Randn(shape, type, seed).cpu();
  }
  std::vector<ProductSum> Sums(size_t expert, bool backward) const {
    constexpr int64_t kIn = 96, kOut = 136, kRank = 6;
    const uint64_t seed = 10 * expert;
    const int64_t count = rows(expert);
    const at::Tensor dense = Of({kOut, kIn}, seed);
    const Operand w =
        nf4 ? Operand(QuantizedNf4(dense.to(at::kFloat), WholeParam("w", {kOut, kIn}), {}), type)
            : Operand(dense);
    const at::Tensor x = Of({count, kIn}, seed + 1), low = Of({count, kRank}, seed + 2),
                     a = Of({kRank, kIn}, seed + 3), b = Of({kOut, kRank}, seed + 4),
                     y = Of({count, kOut}, seed + 5);
    if (backward) return {{x, {{y, w}, {low, a, 2.0}}}};
    return {{low, {{x, a.t()}}}, {y, {{x, w.t()}, {low, b.t(), 0.5}}, /*accumulate=*/true}};
  }
};

std::vector<std::vector<ProductSum>> SumsOf(const OfDtype& of, size_t experts, bool backward) {
  std::vector<std::vector<ProductSum>> sums;
  for (size_t i = 0; i < experts; ++i) sums.push_back(of.Sums(i, backward));
  return sums;
}

// By loops of our own, on one thread and on several, beside each sum alone by the library.
TEST(GroupedOnCpu, EachIsTheSumThatItIsAlone) {
  const int threads = at::get_num_threads();
  const bool has_bf16 =
      SelectedCpuKernels().bfloat16.block_product_workspace(2) > 0 && !ThisCpu().amx_bf16;
  for (const at::ScalarType type : {at::kDouble, at::kFloat, at::kBFloat16}) {
    for (const bool nf4 : {false, true}) {
      for (const int each : {1, 3}) {
        for (const size_t experts : {1, each == 1 ? 4 : 70}) {
          for (const bool backward : {false, true}) {
            SCOPED_TRACE(testing::Message() << type << (nf4 ? " NF4 " : " ") << experts
                                            << " experts, " << each << " threads");
            const OfDtype of = {type, nf4};
            const std::vector<std::vector<ProductSum>> got = SumsOf(of, experts, backward),
                                                       want = SumsOf(of, experts, backward);
            at::set_num_threads(each);
            const bool taken = AddGroupedOnCpu(got, Bf16Gemm::kNative);
            at::set_num_threads(threads);
            // One row alone has loops of its own in what is multiplied by transposes.
            const bool few = experts == 1 && !backward && type != at::kDouble;
            EXPECT_EQ(taken, !few && (type != at::kBFloat16 || has_bf16));
            if (!taken) continue;
            const double bound = type == at::kDouble ? 1e-13 : type == at::kFloat ? 2e-6 : 1. / 64;
            for (size_t i = 0; i < experts; ++i) {
              AddProductSums(want[i], Bf16Gemm::kNative);
              for (size_t s = 0; s < want[i].size(); ++s) {
                EXPECT_LE(RelativeError(got[i][s].out, want[i][s].out), bound) << "expert " << i;
              }
            }
          }
        }
      }
    }
  }
}

// An expert's result does not depend on which others come with it, nor on threads; nor does the
// scratch on the others.
TEST(GroupedOnCpu, EachHasTheBitsThatItHasInAnotherBatch) {
  const int threads = at::get_num_threads();
  const OfDtype of = {at::kFloat, false};
  const std::vector<std::vector<ProductSum>> many = SumsOf(of, 9, true), few = SumsOf(of, 5, true);
  at::set_num_threads(3);
  ASSERT_TRUE(AddGroupedOnCpu(many));
  at::set_num_threads(1);
  ASSERT_TRUE(AddGroupedOnCpu(few));
  at::set_num_threads(threads);
  for (size_t i = 0; i < few.size(); ++i) EXPECT_TRUE(few[i][0].out.equal(many[i][0].out));
}

TEST(GroupedOnCpu, ScratchIsThatOfOneGroup) {
  for (const bool nf4 : {false, true}) {
    const OfDtype of = {at::kFloat, nf4};
    std::vector<int64_t> peaks;
    std::vector<std::vector<ProductSum>> sums = SumsOf(of, 6, true);
    InstallMemoryLedger();
    for (const size_t count : {1, 5}) {
      const MemoryScope scope(MemoryCategory::kWorkspace);
      ResetMemoryPeaks();
      const int64_t before = MemoryOf(MemoryCategory::kWorkspace).current_bytes;
      ASSERT_TRUE(AddGroupedOnCpu(c10::ArrayRef(sums).slice(1, count)));
      peaks.push_back(MemoryOf(MemoryCategory::kWorkspace).peak_bytes - before);
    }
    EXPECT_GT(peaks[0], 0);
    EXPECT_EQ(peaks[0], peaks[1]);
  }
}

// Where some experts' matrices are dense and others' NF4, the scratch is the first one's.
TEST(GroupedOnCpu, ExpertsMayBeOfTwoForms) {
  for (const bool first : {false, true}) {
    std::vector<std::vector<ProductSum>> got, want;
    for (auto* sums : {&got, &want}) {
      for (size_t i = 1; i < 5; ++i) {
        sums->push_back(OfDtype{at::kFloat, (i % 2 == 0) == first}.Sums(i, true));
      }
    }
    ASSERT_TRUE(AddGroupedOnCpu(got));
    for (size_t i = 0; i < got.size(); ++i) {
      AddProductSums(want[i]);
      EXPECT_LE(RelativeError(got[i][0].out, want[i][0].out), 2e-6);
    }
  }
}

// bfloat16 by a float32 GEMM rounds a sum once: not product by product, as these loops do. The
// first sum of an expert with an adapter is float32 there.
TEST(GroupedOnCpu, NoBfloat16IsTakenWhereItIsExpanded) {
  for (const bool nf4 : {false, true}) {
    const OfDtype of = {at::kBFloat16, nf4};
    std::vector<std::vector<ProductSum>> sums = SumsOf(of, 3, false);
    for (std::vector<ProductSum>& each : sums) {
      const at::Tensor low = each[0].out.to(at::kFloat);
      each[0].out = low;
      each[1].products[1].a = low;
    }
    EXPECT_FALSE(AddGroupedOnCpu(sums, Bf16Gemm::kFloat32));
  }
}

// Operands of two dtypes, and rows by columns, are multiplied as they are alone.
TEST(GroupedOnCpu, WhatTheLoopsDoNotTakeIsFormedAlone) {
  std::vector<std::vector<ProductSum>> got, want;
  for (auto* sums : {&got, &want}) {
    for (uint64_t e = 0; e < 3; ++e) {
      const at::Tensor x = Randn({24, 32}, at::kFloat, e).cpu(),
                       w = Randn({40, 32}, at::kFloat, e + 9).cpu();
      sums->push_back({{at::zeros({24, 40}), {{x, w.t()}, {x.t().contiguous().t(), w.t()}}}});
    }
  }
  ASSERT_TRUE(AddGroupedOnCpu(got));
  for (size_t i = 0; i < got.size(); ++i) {
    AddProductSums(want[i]);
    EXPECT_LE(RelativeError(got[i][0].out, want[i][0].out), 2e-6);
  }
  const at::Tensor x = at::zeros({24, 32}), w = at::zeros({40, 32}, at::kBFloat16);
  const std::vector<std::vector<ProductSum>> mixed = {{{at::zeros({24, 40}), {{x, w.t()}}}}};
  EXPECT_FALSE(AddGroupedOnCpu(mixed)) << "no product of theirs is taken";
}

#ifdef FTTRAIN_WITH_CUDA
// GPU or not: the libcublas of the process is loaded with libtorch_cuda.
TEST(GroupedSums, CublasOfThisProcessHasTheCall) { EXPECT_TRUE(CublasHasGroupedGemm()); }
#endif

}  // namespace
}  // namespace fttrain
