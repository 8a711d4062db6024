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
  const MeshShape shape{.tp = 2, .pp = 3, .dp = 2};
  const AxisSet sets[][2] = {{{}, kAllAxes},
                             {{Axis::kTp}, {Axis::kPp, Axis::kDp}},
                             {{Axis::kPp}, {Axis::kTp, Axis::kDp}},
                             {{Axis::kDp}, {Axis::kTp, Axis::kPp}}};
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
          EXPECT_EQ(at.at(axis), line.front().at(axis));
        }
      }
      EXPECT_EQ(static_cast<int>(lines.size()), shape.size(across));
    }
  }
  EXPECT_EQ(IndexIn(shape, PositionOfRank(shape, 7), kAllAxes), 7);
}

}  // namespace
}  // namespace fttrain
