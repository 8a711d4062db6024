// Dequantising one matrix ahead against dequantising each when it is asked for. On the CPU the same
// guesses are made, without streams.
#include "model/nf4/ahead.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <vector>

#include "runtime/memory/ledger.h"
#include "tests/model/nf4_matrices.h"
#include "tests/test_device.h"

namespace fttrain {
namespace {

// Matrices of several sizes with random codes and scales around one.
std::vector<Nf4Matrix> Matrices() {
  const std::vector<std::vector<int64_t>> shapes = {{64, 96}, {512, 640}, {32, 32}, {640, 512}};
  std::vector<Nf4Matrix> matrices;
  for (size_t i = 0; i < shapes.size(); ++i) {
    Nf4Matrix matrix;
    matrix.layout = MakeNf4Layout(WholeParam("w", shapes[i]), {.double_quant = false});
    auto generator = at::detail::createCPUGenerator(i);
    const at::Tensor bytes = at::randint(256, {matrix.layout.bytes}, generator, at::kByte);
    bytes.narrow(0, matrix.layout.scales_begin, matrix.layout.bytes - matrix.layout.scales_begin)
        .view(at::kFloat)
        .copy_(at::rand({(matrix.layout.bytes - matrix.layout.scales_begin) / 4}, generator) + 0.5);
    matrix.bytes = bytes.to(TestDevice());
    matrices.push_back(matrix);
  }
  return matrices;
}

struct Use {
  size_t matrix;
  bool backward;
};

// What a product with each matrix gives, read as a GEMM would before the next is asked for.
void ExpectSameProducts(Nf4Ahead& ahead, const std::vector<Nf4Matrix>& matrices,
                        const std::vector<Use>& uses) {
  std::vector<at::Tensor> got;
  for (const Use& use : uses) {
    const at::Tensor weight = ahead.Get(matrices[use.matrix], use.backward);
    const int64_t rows = weight.size(0);
    got.push_back(at::mm(at::ones({256, rows}, weight.options()), weight).sum(0));
    got.push_back(weight.clone());
  }
  for (size_t i = 0; i < uses.size(); ++i) {
    const at::Tensor want = DequantizedNf4(matrices[uses[i].matrix]);
    EXPECT_TRUE(at::equal(got[2 * i + 1], want)) << i;
    EXPECT_TRUE(
        at::equal(got[2 * i], at::mm(at::ones({256, want.size(0)}, want.options()), want).sum(0)))
        << i;
  }
}

TEST(Nf4Ahead, ARepeatedPassFindsEveryMatrixReady) {
  const std::vector<Nf4Matrix> matrices = Matrices();
  Nf4Ahead ahead(TestDevice(), at::kFloat);
  const std::vector<Use> step = {{0, false}, {1, false}, {2, false}, {3, false},
                                 {3, true},  {2, true},  {1, true},  {0, true}};
  ExpectSameProducts(ahead, matrices, step);
  EXPECT_EQ(ahead.hits(), 0);
  ExpectSameProducts(ahead, matrices, step);
  EXPECT_EQ(ahead.hits(), 7);  // nothing was known to follow the last
  ExpectSameProducts(ahead, matrices, step);
  EXPECT_EQ(ahead.hits(), 15);
}

TEST(Nf4Ahead, TurnedOffDequantisesEachWhenItIsAskedFor) {
  const std::vector<Nf4Matrix> matrices = Matrices();
  setenv("FTTRAIN_NF4_AHEAD", "0", 1);
  Nf4Ahead ahead(TestDevice(), at::kFloat);
  unsetenv("FTTRAIN_NF4_AHEAD");
  const std::vector<Use> step = {{0, false}, {1, false}, {1, true}, {0, true}};
  ExpectSameProducts(ahead, matrices, step);
  ExpectSameProducts(ahead, matrices, step);
  EXPECT_EQ(ahead.hits(), 0);
}

TEST(Nf4Ahead, AnotherOrderIsAsRightAndIsLearnt) {
  const std::vector<Nf4Matrix> matrices = Matrices();
  Nf4Ahead ahead(TestDevice(), at::kFloat);
  ExpectSameProducts(ahead, matrices, {{0, false}, {1, false}, {2, false}, {0, false}});
  // A guess that is wrong, the same matrix twice, a use of the other kind.
  ExpectSameProducts(ahead, matrices, {{2, false}, {2, false}, {3, false}, {1, true}, {0, true}});
  const int64_t hits = ahead.hits();
  ExpectSameProducts(ahead, matrices, {{3, false}, {1, true}, {0, true}});
  EXPECT_EQ(ahead.hits() - hits, 2);
}

TEST(Nf4Ahead, AForwardThatBackwardRepeatsIsLearntBesideTheOther) {
  const std::vector<Nf4Matrix> matrices = Matrices();
  Nf4Ahead ahead(TestDevice(), at::kFloat);
  // Of one layer: 3 is used forward alone, and what follows 1 and 2 differs.
  const auto step = [&] {
    ExpectSameProducts(ahead, matrices, {{0, false}, {1, false}, {2, false}, {3, false}});
    ahead.SetRecomputing(true);
    ExpectSameProducts(ahead, matrices, {{0, false}, {1, false}, {2, false}});
    ahead.SetRecomputing(false);
    ExpectSameProducts(ahead, matrices, {{3, true}, {2, true}, {1, true}, {0, true}});
  };
  step();
  step();
  const int64_t hits = ahead.hits();
  step();
  EXPECT_EQ(ahead.hits() - hits, 11);
}

class Nf4AheadMemory : public testing::Test {
 protected:
  static void SetUpTestSuite() { UseMemoryLedger(); }
};

TEST_F(Nf4AheadMemory, IsTwoBuffersOfTheLargestMatrix) {
  const std::vector<Nf4Matrix> matrices = Matrices();
  const int64_t before = MemoryOf(MemoryCategory::kWorkspace).current_bytes;
  {
    Nf4Ahead ahead(TestDevice(), at::kFloat);
    for (int pass = 0; pass < 2; ++pass) {
      for (const Nf4Matrix& matrix : matrices) ahead.Get(matrix, false);
    }
    const int64_t held = MemoryOf(MemoryCategory::kWorkspace).current_bytes - before;
    EXPECT_LE(held, 2 * 512 * 640 * 4);
    if (TestDevice().is_cpu()) {
      EXPECT_GT(held, 512 * 640 * 4);
    }
  }
  EXPECT_EQ(MemoryOf(MemoryCategory::kWorkspace).current_bytes, before);
}

}  // namespace
}  // namespace fttrain
