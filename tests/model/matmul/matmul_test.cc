// Both ways to multiply bfloat16 matrices against float64 products of the same values.
#include "model/matmul/matmul.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gmock/gmock.h>

#include <string>
#include <tuple>
#include <vector>

#include "runtime/memory/ledger.h"
#include "tests/model/nf4_matrices.h"
#include "tests/test_device.h"

namespace fttrain {
namespace {

struct Size {
  int64_t tokens, in, out;
};
void PrintTo(const Size& s, std::ostream* out) { *out << s.tokens << "x" << s.in << "x" << s.out; }

double Largest(const at::Tensor& x) { return x.numel() == 0 ? 0.0 : x.abs().max().item<double>(); }
double LargestError(const at::Tensor& got, const at::Tensor& want) {
  return Largest(Wide(got) - Wide(want));
}

// One linear layer with an adapter of rank 5, in bfloat16 with float32 factors and gradients.
class Matmul : public testing::TestWithParam<std::tuple<Size, Bf16Gemm>> {
 protected:
  const Size size = std::get<0>(GetParam());
  const Bf16Gemm backend = std::get<1>(GetParam());
  const at::Tensor x = Values({size.tokens, size.in}, at::kBFloat16, 1);
  const at::Tensor w = Values({size.out, size.in}, at::kBFloat16, 2);
  const at::Tensor dy = Values({size.tokens, size.out}, at::kBFloat16, 3);
  const at::Tensor low = Values({size.tokens, 5}, at::kFloat, 4);
  const at::Tensor b = Values({size.out, 5}, at::kFloat, 5);

  static at::Tensor Values(at::IntArrayRef shape, at::ScalarType type, uint64_t seed) {
    return Randn(shape, at::kFloat, seed).to(type);
  }
  // An implementation that sums in float32 is off by the rounding of its result and by float32's
  // errors of summing `terms` products of about one; kNative also rounds float32 operands and parts
  // of the sum to bfloat16, which counts as two more roundings.
  void ExpectNear(const at::Tensor& got, const at::Tensor& want, int64_t terms) const {
    const bool wide = got.scalar_type() == at::kFloat;
    const double sum = static_cast<double>(terms) * 1e-7 * 4;
    const double unit = 1.0 / 256;  // half a last place of bfloat16, relative
    const double roundings = backend == Bf16Gemm::kNative ? 3.0 : (wide ? 0.0 : 1.0);
    EXPECT_LE(LargestError(got, want), roundings * unit * Largest(want) + sum);
  }
};

TEST_P(Matmul, ForwardIsTheSumOfBaseAndAdapter) {
  at::Tensor y = at::full({size.tokens, size.out}, 7.0, x.options());  // is overwritten
  AddProducts(y, {{x, w.t()}, {low, b.t(), 0.5}}, /*accumulate=*/false, backend);
  const at::Tensor want = Wide(x).mm(Wide(w).t()) + Wide(low).mm(Wide(b).t()) * 0.5;
  ExpectNear(y, want, size.in + 5);
}

TEST_P(Matmul, InputGradientsAreAddedToWhatIsThere) {
  at::Tensor dx = x.clone();
  AddProducts(dx, {{dy, w}}, /*accumulate=*/true, backend);
  ExpectNear(dx, Wide(x) + Wide(dy).mm(Wide(w)), size.out + 1);
}

TEST_P(Matmul, WeightGradientsAccumulateInFloat32) {
  at::Tensor grad = at::full({size.out, size.in}, 0.25, low.options());
  AddProducts(grad, {{dy.t(), x}}, /*accumulate=*/true, backend);
  ExpectNear(grad, Wide(dy).t().mm(Wide(x)) + 0.25, size.tokens + 1);
}

TEST_P(Matmul, AdapterGradientsTakeAMixedPair) {
  at::Tensor grad = at::zeros({size.out, 5}, low.options());
  AddProducts(grad, {{dy.t(), low, 0.5}}, /*accumulate=*/true, backend);
  ExpectNear(grad, Wide(dy).t().mm(Wide(low)) * 0.5, size.tokens);
}

TEST_P(Matmul, SumsOfOneInputAreTheProductsAlone) {
  const at::Tensor down = Values({5, size.in}, at::kFloat, 6).t();
  const at::Tensor w2 = Values({size.out, size.in}, at::kBFloat16, 8);
  const at::Tensor low_rank = EmptyLowRank(x, 5, backend), want_low = EmptyLowRank(x, 5, backend);
  at::Tensor y = dy.clone(), y2 = dy.clone(), want_y = dy.clone(), want_y2 = dy.clone();
  AddProductSums({{low_rank, {{x, down, 2.0}}},
                  {y, {{x, w.t()}, {low_rank, b.t(), 0.5}}, /*accumulate=*/true},
                  {y2, {{x, w2.t()}}}},
                 backend);
  AddProducts(want_low, {{x, down, 2.0}}, /*accumulate=*/false, backend);
  AddProducts(want_y, {{x, w.t()}, {want_low, b.t(), 0.5}}, /*accumulate=*/true, backend);
  AddProducts(want_y2, {{x, w2.t()}}, /*accumulate=*/false, backend);
  EXPECT_TRUE(at::equal(low_rank, want_low));
  EXPECT_TRUE(at::equal(y, want_y));
  EXPECT_TRUE(at::equal(y2, want_y2));
}

TEST_P(Matmul, RowsForSeveralProductsAreThoseOfTheMatrix) {
  int64_t next = 0;
  ForRows(
      x,
      [&](int64_t begin, const at::Tensor& rows) {
        EXPECT_EQ(begin, next);
        EXPECT_TRUE(at::equal(Wide(rows), Wide(x.narrow(0, begin, rows.size(0)))));
        next += rows.size(0);
      },
      backend);
  EXPECT_EQ(next, size.tokens);
}

// An NF4 matrix [out, in] of random values.
Nf4Matrix RandomNf4(int64_t out, int64_t in, const Nf4Options& options = {}) {
  return QuantizedNf4(Randn({out, in}, at::kFloat, 21).cpu(), WholeParam("w", {out, in}), options);
}

TEST_P(Matmul, AnNf4OperandGivesTheBitsOfItsDequantisedMatrix) {
  for (const at::ScalarType rounding : {at::kFloat, at::kBFloat16, at::kHalf}) {
    const Operand packed(RandomNf4(size.out, size.in, {.rounding = rounding}), at::kBFloat16);
    const at::Tensor dense = packed.Dense();
    EXPECT_EQ(dense.scalar_type(), at::kBFloat16);
    at::Tensor y[2] = {dy.clone(), dy.clone()}, dx[2] = {x.clone(), x.clone()};
    for (const bool is_packed : {false, true}) {
      const Operand w_operand = is_packed ? packed : Operand(dense);
      AddProducts(y[is_packed], {{x, w_operand.t()}, {low, b.t()}}, /*accumulate=*/true, backend);
      AddProducts(dx[is_packed], {{dy, w_operand}}, /*accumulate=*/true, backend);
    }
    EXPECT_TRUE(at::equal(y[0], y[1])) << rounding;
    EXPECT_TRUE(at::equal(dx[0], dx[1])) << rounding;
  }
}

TEST_P(Matmul, AnNf4OperandInFloat32IsItsDequantisedMatrix) {
  const Operand packed(RandomNf4(size.out, size.in), at::kFloat);
  const at::Tensor wide_x = x.to(at::kFloat), wide_dy = dy.to(at::kFloat);
  const at::Tensor y = at::empty({size.tokens, size.out}, at::kFloat);
  const at::Tensor dx = wide_x.clone();
  AddProducts(y, {{wide_x, packed.t()}, {low, b.t()}}, /*accumulate=*/false, backend);
  AddProducts(dx, {{wide_dy, packed}}, /*accumulate=*/true, backend);
  const at::Tensor dense = Wide(packed.Dense());
  const double error = static_cast<double>(size.in + size.out) * 4e-7;
  EXPECT_LE(LargestError(y, Wide(x).mm(dense.t()) + Wide(low).mm(Wide(b).t())), error);
  EXPECT_LE(LargestError(dx, Wide(x) + Wide(dy).mm(dense)), error);
}

TEST_P(Matmul, SquareOperandsAreToldFromTheirTransposes) {
  const at::Tensor square = Values({9, 9}, at::kBFloat16, 7);
  at::Tensor y = at::zeros({9, 9}, low.options());
  AddProducts(y, {{square, square.t()}, {square.t(), square}}, /*accumulate=*/false, backend);
  const at::Tensor s = Wide(square);
  ExpectNear(y, s.mm(s.t()) + s.t().mm(s), 18);
}

TEST_P(Matmul, LowRankFactorsKeepTheirPrecisionInFloat32) {
  const at::Tensor factor = Values({5, size.in}, at::kFloat, 6);
  const at::Tensor product = EmptyLowRank(x, 5, backend);
  AddProducts(product, {{x, factor.t(), 2.0}}, /*accumulate=*/false, backend);
  EXPECT_EQ(product.scalar_type(), backend == Bf16Gemm::kFloat32 ? at::kFloat : at::kBFloat16);
  ExpectNear(product, Wide(x).mm(Wide(factor).t()) * 2.0, size.in);
}

// The float32 library may cut a long sum over threads, so their number shows in the last bits.
TEST_P(Matmul, DependsOnTheNumberOfThreadsByTheOrderOfSumsAlone) {
  at::Tensor y[3], grad[3];
  for (int run : {0, 1, 2}) {
    at::set_num_threads(run == 0 ? 1 : 2);
    y[run] = dy.clone();
    AddProducts(y[run], {{x, w.t()}, {low, b.t()}}, /*accumulate=*/true, backend);
    grad[run] = at::zeros({size.out, size.in}, at::kFloat);
    AddProducts(grad[run], {{dy.t(), x}}, /*accumulate=*/true, backend);
  }
  EXPECT_LE(LargestError(y[0], y[1]), Largest(y[0]) / 128);  // one last place of bfloat16
  EXPECT_LE(LargestError(grad[0], grad[1]), 1e-6 * Largest(grad[0]));
  EXPECT_TRUE(at::equal(y[1], y[2]));
  EXPECT_TRUE(at::equal(grad[1], grad[2]));
}

std::string CaseName(const testing::TestParamInfo<Matmul::ParamType>& test) {
  const auto& [size, backend] = test.param;
  return Bf16GemmName(backend) + std::string("_") + std::to_string(size.tokens) + "x" +
         std::to_string(size.in) + "x" + std::to_string(size.out);
}

// Nothing, one row, odd sizes, more than one block along each dimension.
INSTANTIATE_TEST_SUITE_P(Sizes, Matmul,
                         testing::Combine(testing::Values(Size{0, 24, 40}, Size{1, 7, 3},
                                                          Size{37, 53, 71}, Size{1100, 40, 24},
                                                          Size{24, 4200, 40}, Size{24, 40, 2100}),
                                          testing::Values(Bf16Gemm::kNative, Bf16Gemm::kFloat32)),
                         CaseName);

// Few rows, as generation has them, and one more than that.
TEST(MatmulFewRows, EachIsTheSumOfBaseAndAdapterRoundedOnce) {
  const at::Tensor w = Randn({203, 579}, at::kBFloat16, 2), b = Randn({203, 5}, at::kFloat, 5);
  for (int64_t rows = 1; rows <= 17; ++rows) {
    const at::Tensor x = Randn({rows, 579}, at::kBFloat16, 1);
    const at::Tensor low = Randn({rows, 12}, at::kFloat, 4).narrow(1, 3, 5);
    at::Tensor y = Randn({rows, 203}, at::kBFloat16, 3);
    const at::Tensor want = Wide(y) + Wide(x).mm(Wide(w).t()) + Wide(low).mm(Wide(b).t()) * 0.5;
    AddProducts(y, {{x, w.t()}, {low, b.t(), 0.5}}, /*accumulate=*/true, Bf16Gemm::kFloat32);
    EXPECT_LE(LargestError(y, want), Largest(want) / 256) << rows << " rows";
  }
}

TEST(MatmulFewRows, EachHasTheBitsThatItHasAlone) {
  const Nf4Matrix packed = RandomNf4(203, 640);
  const at::Tensor x = Randn({11, 640}, at::kBFloat16, 1);
  const at::Tensor w = Randn({203, 640}, at::kBFloat16, 2);
  for (const Operand& right : {Operand(w.t()), Operand(packed, at::kBFloat16).t()}) {
    const at::Tensor all = at::empty({11, 203}, at::kFloat), one = at::empty({1, 203}, at::kFloat);
    AddProducts(all, {{x, right}}, /*accumulate=*/false);
    for (int64_t row = 0; row < 11; ++row) {
      AddProducts(one, {{x.narrow(0, row, 1), right}}, /*accumulate=*/false);
      EXPECT_TRUE(at::equal(all.narrow(0, row, 1), one)) << "row " << row;
    }
  }
}

TEST(MatmulPrecision, Float32ErrorIsNoLargerThanNativeBf16Error) {
  const at::Tensor x = Randn({64, 300}, at::kBFloat16, 1), w = Randn({80, 300}, at::kBFloat16, 2);
  const at::Tensor low = Randn({64, 8}, at::kFloat, 3), b = Randn({80, 8}, at::kFloat, 4);
  const at::Tensor want = Wide(x).mm(Wide(w).t()) + Wide(low).mm(Wide(b).t());
  const auto error = [&](Bf16Gemm backend) {
    const at::Tensor y = at::empty({64, 80}, x.options());
    AddProducts(y, {{x, w.t()}, {low, b.t()}}, /*accumulate=*/false, backend);
    return RelativeError(y, want);
  };
  EXPECT_LE(error(Bf16Gemm::kFloat32), error(Bf16Gemm::kNative));
}

class MatmulMemory : public testing::Test {
 protected:
  static void SetUpTestSuite() { InstallMemoryLedger(); }
};

TEST_F(MatmulMemory, ScratchIsBoundedWhateverTheSizes) {
  const at::Tensor x = at::ones({2000, 5000}, at::kBFloat16);
  const at::Tensor w = at::ones({3000, 5000}, at::kBFloat16);
  at::Tensor y = at::empty({2000, 3000}, at::kBFloat16);
  ResetMemoryPeaks();
  const int64_t before = MemoryOf(MemoryCategory::kWorkspace).current_bytes;
  AddProducts(y, {{x, w.t()}}, /*accumulate=*/false, Bf16Gemm::kFloat32);
  const MemoryUse use = MemoryOf(MemoryCategory::kWorkspace);
  EXPECT_EQ(use.current_bytes, before);
  EXPECT_LE(use.peak_bytes - before, 36 << 20);
  EXPECT_GT(use.peak_bytes, before);          // the ledger was looking
  EXPECT_EQ(y.min().item<float>(), 4992.0f);  // 5000 in bfloat16
  EXPECT_EQ(y.max().item<float>(), 4992.0f);
}

TEST_F(MatmulMemory, AnNf4OperandIsNeverDequantisedWhole) {
  constexpr int64_t kOut = 3000, kIn = 5000;
  const Nf4Matrix w = RandomNf4(kOut, kIn);
  for (const at::ScalarType dtype : {at::kBFloat16, at::kFloat}) {
    const at::Tensor x = at::ones({2000, kIn}, dtype), dy = at::ones({2000, kOut}, dtype);
    at::Tensor y = at::empty({2000, kOut}, dtype), dx = at::empty({2000, kIn}, dtype);
    ResetMemoryPeaks();
    const int64_t before = MemoryOf(MemoryCategory::kWorkspace).current_bytes;
    const Operand operand(w, dtype);
    AddProducts(y, {{x, operand.t()}}, /*accumulate=*/false, Bf16Gemm::kFloat32);
    AddProducts(dx, {{dy, operand}}, /*accumulate=*/false, Bf16Gemm::kFloat32);
    const MemoryUse use = MemoryOf(MemoryCategory::kWorkspace);
    EXPECT_EQ(use.current_bytes, before);
    // A block of w; in bfloat16 also one of x and one of y.
    EXPECT_LE(use.peak_bytes - before, (dtype == at::kFloat ? 16 : 36) << 20) << dtype;
    EXPECT_LT(use.peak_bytes - before, kOut * kIn * 4);
    EXPECT_GT(use.peak_bytes, before);
  }
}

TEST(MatmulShape, ThatDoesNotFitIsRefusedWithAllSizes) {
  at::Tensor y = at::zeros({2, 3});
  const std::vector<MatrixProduct> products = {{at::ones({2, 4}), at::ones({5, 3})}};
  EXPECT_THAT([&] { AddProducts(y, products, /*accumulate=*/false); },
              testing::ThrowsMessage<c10::Error>(
                  testing::HasSubstr("product of [2, 4] and [5, 3] into [2, 3]")));
}

TEST(PreferredBf16Gemm, IsNativeWhereTheMachineIsFastAtIt) {
  const auto preferred = [](bool intel, bool avx512_bf16, bool amx) {
    return PreferredBf16Gemm({.intel = intel, .avx512_bf16 = avx512_bf16, .amx_bf16 = amx});
  };
  EXPECT_EQ(preferred(true, true, true), Bf16Gemm::kNative);
  EXPECT_EQ(preferred(true, true, false), Bf16Gemm::kFloat32);
  EXPECT_EQ(preferred(true, false, false), Bf16Gemm::kFloat32);
  EXPECT_EQ(preferred(false, true, false), Bf16Gemm::kNative);
  EXPECT_EQ(preferred(false, false, false), Bf16Gemm::kFloat32);
}

}  // namespace
}  // namespace fttrain
