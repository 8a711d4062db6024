#include "parallel/layout/mesh.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/test_mesh.h"

namespace fttrain {
namespace {

// Sum of the world ranks along the axis that `axis` spans.
int64_t SumOfRanks(Communicator& axis) {
  at::Tensor rank = at::full({1}, TestProcess().rank(), at::kLong);
  axis.AllReduce(rank);
  return rank.item<int64_t>();
}

// The same, from rank = (dp * pp_size + pp) * tp_size + tp: `count` ranks, `stride` apart, from
// `first` on.
int64_t ArithmeticSum(int first, int stride, int count) {
  int64_t sum = 0;
  for (int i = 0; i < count; ++i) sum += first + static_cast<int64_t>(i) * stride;
  return sum;
}

TEST(Mesh, AxesJoinTheRanksThatDifferInThatCoordinateAlone) {
  const int world = TestProcess().world_size(), rank = TestProcess().rank();
  for (int tp = 1; tp <= world; ++tp) {
    for (int pp = 1; tp * pp <= world; ++pp) {
      if (world % (tp * pp) != 0) continue;
      const auto mesh = TestMesh(tp, pp);
      const MeshShape& shape = mesh->shape();
      const MeshPosition at = mesh->position();
      EXPECT_EQ(rank, (at.dp * pp + at.pp) * tp + at.tp);
      EXPECT_EQ(mesh->Line({}).size(), 1);
      at::Tensor ranks = at::full({1}, rank, at::kLong);
      mesh->AllReduce(ranks, {Axis::kTp, Axis::kDp});
      int64_t plane = 0;
      for (int other = 0; other < world; ++other) {
        if (PositionOfRank(shape, other).pp == at.pp) plane += other;
      }
      EXPECT_EQ(ranks.item<int64_t>(), plane);
      EXPECT_EQ(mesh->tp().rank(), at.tp);
      EXPECT_EQ(mesh->pp().rank(), at.pp);
      EXPECT_EQ(mesh->dp().rank(), at.dp);
      EXPECT_EQ(SumOfRanks(mesh->tp()), ArithmeticSum(rank - at.tp, 1, tp));
      EXPECT_EQ(SumOfRanks(mesh->pp()), ArithmeticSum(rank - at.pp * tp, tp, pp));
      EXPECT_EQ(SumOfRanks(mesh->dp()), ArithmeticSum(rank - at.dp * tp * pp, tp * pp, shape.dp));
    }
  }
}

// Data-parallel ranks of one stage and tensor rank: neighbours divide the experts, those that are
// ep apart have the same ones.
TEST(Mesh, DataParallelRanksDivideExperts) {
  const int world = TestProcess().world_size(), rank = TestProcess().rank();
  for (int ep = 1; ep <= world; ++ep) {
    if (world % ep != 0) continue;
    const auto mesh = TestMesh(1, 1, ep);
    EXPECT_EQ(mesh->ep().size(), ep);
    EXPECT_EQ(SumOfRanks(mesh->ep()), ArithmeticSum(rank - rank % ep, 1, ep));
    Communicator& same = mesh->Line({Axis::kDp});
    EXPECT_EQ(SumOfRanks(same), ArithmeticSum(rank % ep, ep, world / ep));
    EXPECT_EQ(&same == &mesh->dp(), ep == 1) << "one line where there is one";
    EXPECT_EQ(mesh->dp().size(), world);
    const int64_t exchanges = mesh->ep().traffic().calls;
    at::Tensor ranks = at::full({1}, rank, at::kLong);
    mesh->AllReduce(ranks, kAllAxes);
    EXPECT_EQ(ranks.item<int64_t>(), ArithmeticSum(0, 1, world));
    EXPECT_EQ(mesh->ep().traffic().calls, exchanges) << "sums of all are not along ep";
  }
}

TEST(Mesh, ShapeOfAnotherWorldIsRefused) {
  const int world = TestProcess().world_size();
  const auto mesh = Mesh::Create(CreateMpiCommunicator, TestProcess(), {.tp = world + 1});
  EXPECT_EQ(mesh.status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(Mesh, SingleHasOneRankOnEveryAxis) {
  const auto mesh = Mesh::Single();
  EXPECT_EQ(mesh->shape().world_size(), 1);
  EXPECT_EQ(mesh->tp().size() * mesh->pp().size() * mesh->dp().size(), 1);
}

}  // namespace
}  // namespace fttrain
