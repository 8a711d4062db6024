#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <utility>
#include <vector>

#include "parallel/layout/mesh.h"

namespace fttrain {
namespace {

using ::testing::HasSubstr;

TEST(MakeMeshShape, ComputesTheDataParallelSize) {
  struct Row {
    int world, tp, pp, dp;
  };
  for (const Row& row : {Row{1, 1, 1, 1}, Row{8, 2, 2, 2}, Row{6, 1, 3, 2}, Row{4, 4, 1, 1}}) {
    const auto shape = MakeMeshShape(row.world, row.tp, row.pp).value();
    EXPECT_EQ(shape.dp, row.dp);
    EXPECT_EQ(shape.world_size(), row.world);
  }
}

TEST(MakeMeshShape, RefusesWithTheArithmeticAndACommandThatWorks) {
  struct Row {
    int world, tp, pp;
    const char* arithmetic;
    const char* command;
  };
  const Row rows[] = {
      {1, 2, 1,
       "parallel.tensor 2 x parallel.pipeline 1 = 2 ranks hold one copy of the model, which does "
       "not divide the 1 rank of",
       "mpirun -np 2 fttrain"},
      {3, 2, 2, "= 4 ranks hold one copy of the model, which does not divide the 3 ranks of",
       "mpirun -np 4 fttrain"},
      {7, 2, 1, "= 2 ranks hold one copy of the model, which does not divide the 7 ranks of",
       "mpirun -np 6 fttrain"},
  };
  for (const Row& row : rows) {
    const auto shape = MakeMeshShape(row.world, row.tp, row.pp);
    ASSERT_EQ(shape.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(shape.status().ToString(), HasSubstr(row.arithmetic));
    EXPECT_THAT(shape.status().ToString(), HasSubstr(row.command));
  }
  EXPECT_THAT(MakeMeshShape(2, 0, 1).status().ToString(), HasSubstr("parallel.tensor 0"));
}

TEST(MakeMeshShape, RanksThatDivideExpertsAreSomeOfTheDataParallelOnes) {
  const MeshShape shape = MakeMeshShape(16, 2, 2, 2).value();
  EXPECT_EQ(shape.dp, 4);
  EXPECT_EQ(shape.size(Axis::kEp), 2);
  EXPECT_EQ(shape.size(Axis::kDp), 2) << "that have the same experts";
  EXPECT_EQ(shape.size(kDataAxes), 4);
  EXPECT_EQ(shape.world_size(), 16);
  EXPECT_THAT(MakeMeshShape(6, 2, 1, 2).status().ToString(),
              HasSubstr("parallel.expert 2 must divide the 3 ranks of data parallelism, 6 / "
                        "(parallel.tensor 2 x parallel.pipeline 1); start this job with: mpirun "
                        "-np 4 fttrain"));
  EXPECT_THAT(MakeMeshShape(2, 1, 2, 4).status().ToString(),
              HasSubstr("must divide the 1 rank of data parallelism, 2 / (parallel.tensor 1 x "
                        "parallel.pipeline 2); start this job with: mpirun -np 8 fttrain"));
}

TEST(PositionOfRank, CountsTpFastestAndDpSlowest) {
  const MeshShape shape{.tp = 2, .pp = 3, .dp = 2};
  int rank = 0;
  for (int dp = 0; dp < 2; ++dp) {
    for (int pp = 0; pp < 3; ++pp) {
      for (int tp = 0; tp < 2; ++tp, ++rank) {
        const MeshPosition at = PositionOfRank(shape, rank);
        EXPECT_EQ(at.dp, dp) << rank;
        EXPECT_EQ(at.pp, pp) << rank;
        EXPECT_EQ(at.tp, tp) << rank;
      }
    }
  }
}

// Lines along any axes, the ones that no layout has yet too: the ranks that have the same index in
// the other axes differ in these alone, and their own index numbers them in the order of ranks.
TEST(IndexIn, NumbersLinesAndTheRanksOfALine) {
  const MeshShape shape{.tp = 2, .pp = 3, .dp = 6, .ep = 3};
  const AxisSet sets[][2] = {{{}, kAllAxes},
                             {{Axis::kTp}, {Axis::kPp, Axis::kEp, Axis::kDp}},
                             {{Axis::kPp}, {Axis::kTp, Axis::kEp, Axis::kDp}},
                             {{Axis::kEp}, {Axis::kTp, Axis::kPp, Axis::kDp}},
                             {{Axis::kTp, Axis::kEp}, {Axis::kPp, Axis::kDp}},
                             {kDataAxes, {Axis::kTp, Axis::kPp}}};
  for (const auto& [one, other] : sets) {
    for (const auto& [along, across] : {std::pair(one, other), std::pair(other, one)}) {
      std::map<int, std::vector<MeshPosition>> lines;
      for (int rank = 0; rank < shape.world_size(); ++rank) {
        const MeshPosition at = PositionOfRank(shape, rank);
        std::vector<MeshPosition>& line = lines[IndexIn(shape, at, across)];
        EXPECT_EQ(IndexIn(shape, at, along), static_cast<int>(line.size()));
        line.push_back(at);
        for (const Axis axis : kEveryAxis) {
          if (!across.Has(axis)) continue;
          EXPECT_EQ(IndexIn(shape, at, {axis}), IndexIn(shape, line.front(), {axis}));
        }
      }
      EXPECT_EQ(static_cast<int>(lines.size()), shape.size(across));
    }
  }
  EXPECT_EQ(IndexIn(shape, PositionOfRank(shape, 7), kAllAxes), 7);
  const MeshPosition at = PositionOfRank(shape, 4 * 6);  // data-parallel rank 4 = 1 * 3 + 1
  EXPECT_EQ(IndexIn(shape, at, {Axis::kEp}), 1);
  EXPECT_EQ(IndexIn(shape, at, {Axis::kDp}), 1);
  EXPECT_EQ(IndexIn(shape, at, kDataAxes), 4);
}

}  // namespace
}  // namespace fttrain
