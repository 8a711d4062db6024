#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "parallel/layout/mesh.h"
#include "parallel/layout/tensor_parallel.h"
#include "runtime/comm/backends.h"
#include "tests/local_rows.h"
#include "tests/mpi_test_main.h"

namespace fttrain {
namespace {

constexpr int64_t kTokens = 12, kHidden = 5;

// The same numbers on every rank.
at::Tensor Seeded(int seed) {
  const at::Tensor x = at::arange(kTokens * kHidden, at::kDouble).add_(0.5);
  return x.mul_(1.7 + seed).sin_().view({kTokens, kHidden});
}

class SequenceRegionOnWorld : public ::testing::TestWithParam<bool> {
 protected:
  SequenceRegionOnWorld() {
    const int world = TestProcess().world_size();
    auto mesh = Mesh::Create(CreateMpiCommunicator, TestProcess(), {.tp = world});
    EXPECT_TRUE(mesh.ok()) << mesh.status();
    mesh_ = *std::move(mesh);
  }
  Communicator& tp() { return mesh_->tp(); }
  SequenceRegion Region() { return SequenceRegion(tp(), GetParam()); }
  // Scalars of all ranks, summed.
  double SumOverRanks(double x) {
    at::Tensor sum = at::full({1}, x, at::kDouble);
    tp().AllReduce(sum);
    return sum.item<double>();
  }

 private:
  std::unique_ptr<Mesh> mesh_;
};

TEST_P(SequenceRegionOnWorld, EnterRestoresWhatLocalRowsCut) {
  const SequenceRegion region = Region();
  const at::Tensor full = Seeded(1);
  const at::Tensor local = LocalRows(region, full);
  EXPECT_EQ(local.size(0), GetParam() ? kTokens / tp().size() : kTokens);
  EXPECT_TRUE(at::equal(region.Enter(local), full));
}

TEST_P(SequenceRegionOnWorld, LeaveSumsThePartsOfAllRanks) {
  const SequenceRegion region = Region();
  at::Tensor sum = at::zeros({kTokens, kHidden}, at::kDouble);
  for (int rank = 0; rank < tp().size(); ++rank) sum += Seeded(rank);
  const at::Tensor got = region.Leave(Seeded(tp().rank()));
  EXPECT_TRUE(at::allclose(got, LocalRows(region, sum), /*rtol=*/0, /*atol=*/1e-14));
}

// <Leave x, y> = <x, Enter y>: each is the other's backward. x is a partial sum, so its inner
// product adds over ranks; y is sharded over ranks with sequence parallelism, else one tensor that
// all ranks hold.
TEST_P(SequenceRegionOnWorld, LeaveAndEnterAreAdjoint) {
  const SequenceRegion region = Region();
  const at::Tensor x = Seeded(tp().rank()), y = LocalRows(region, Seeded(9)).contiguous();
  const double right = SumOverRanks((x * region.Enter(y)).sum().item<double>());
  const double left = (region.Leave(x.clone()) * y).sum().item<double>();
  const double left_total = region.sequence_parallel() ? SumOverRanks(left) : left;
  EXPECT_NEAR(left_total, right, 1e-13 * kTokens * kHidden);
}

TEST_P(SequenceRegionOnWorld, StridedArgumentsAreTakenAsTheyAre) {
  const SequenceRegion region = Region();
  const at::Tensor strided = Seeded(3).t().contiguous().t();
  EXPECT_TRUE(at::equal(region.Enter(LocalRows(region, strided)), Seeded(3)));
  at::Tensor sum = Seeded(3) * tp().size();
  EXPECT_TRUE(at::allclose(region.Leave(strided), LocalRows(region, sum), 0, 1e-14));
}

TEST_P(SequenceRegionOnWorld, WireBytesAreOneCollectivePerEnd) {
  const SequenceRegion region = Region();
  const int64_t n = tp().size(), bytes = kTokens * kHidden * 8;
  const Traffic before = tp().traffic();
  region.Leave(Seeded(0));
  const Traffic left = tp().traffic();
  region.Enter(LocalRows(region, Seeded(0)));
  const Traffic entered = tp().traffic();
  const int64_t shard_bytes = (n - 1) * bytes / n;
  EXPECT_EQ(left.wire_bytes - before.wire_bytes,
            region.sequence_parallel() ? shard_bytes : 2 * shard_bytes);
  EXPECT_EQ(entered.wire_bytes - left.wire_bytes, region.sequence_parallel() ? shard_bytes : 0);
  EXPECT_EQ(left.calls - before.calls, n > 1 ? 1 : 0);
  EXPECT_EQ(entered.calls - left.calls, region.sequence_parallel() ? 1 : 0);
}

TEST_P(SequenceRegionOnWorld, TokensThatTheAxisDoesNotDivideAreRefused) {
  const SequenceRegion region = Region();
  const at::Tensor odd = at::zeros({kTokens + 1, kHidden}, at::kDouble);
  if (region.sequence_parallel()) {
    EXPECT_THROW(region.Leave(odd), c10::Error);
  } else {
    EXPECT_EQ(region.Leave(odd).size(0), kTokens + 1);
  }
}

INSTANTIATE_TEST_SUITE_P(SequenceParallel, SequenceRegionOnWorld, ::testing::Bool(),
                         [](const auto& sp) { return sp.param ? "On" : "Off"; });

}  // namespace
}  // namespace fttrain
