#include "parallel/layout/param.h"

#include <c10/util/Exception.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace fttrain {
namespace {

using ::testing::ElementsAre;

TEST(EvenRange, GivesEveryRankTheCeilingAndTheLastOnesWhatIsLeft) {
  struct Row {
    int64_t total;
    int size, rank;
    int64_t offset, extent;
  };
  // 1003 rows of a vocabulary on 2 ranks: 502 and 501. 5 rows on 4 ranks: 2, 2, 1 and none.
  const Row rows[] = {{1003, 2, 0, 0, 502}, {1003, 2, 1, 502, 501}, {8, 4, 3, 6, 2},
                      {5, 4, 0, 0, 2},      {5, 4, 1, 2, 2},        {5, 4, 2, 4, 1},
                      {5, 4, 3, 5, 0},      {0, 2, 1, 0, 0},        {7, 1, 0, 0, 7}};
  for (const Row& row : rows) {
    const Range range = EvenRange(row.total, row.size, row.rank);
    EXPECT_EQ(range.offset, row.offset) << row.total << " on " << row.size << ", rank " << row.rank;
    EXPECT_EQ(range.extent, row.extent) << row.total << " on " << row.size << ", rank " << row.rank;
  }
}

TEST(ParamSlice, LocalShapeReplacesTheSlicedDimension) {
  const ParamSlice columns = SlicedParam("down_proj.weight", {6, 8}, /*dim=*/1, 4, 2);
  EXPECT_THAT(columns.LocalShape(), ElementsAre(6, 2));
  EXPECT_EQ(columns.LocalNumel(), 12);
  const ParamSlice whole = WholeParam("norm.weight", {6});
  EXPECT_THAT(whole.LocalShape(), ElementsAre(6));
  EXPECT_EQ(whole.LocalNumel(), 6);
}

TEST(ParamSlice, EmptyTailIsAllowed) {
  EXPECT_EQ(SlicedParam("lm_head.weight", {5, 3}, 0, 5, 0).LocalNumel(), 0);
}

TEST(ParamSlice, RangeOutsideTheTensorIsRefusedByName) {
  EXPECT_THAT(
      [] {
        SlicedParam("q_proj.weight", {8, 4}, 0, 6, 4);
      },
      ::testing::ThrowsMessage<c10::Error>(
          ::testing::HasSubstr("q_proj.weight: [6, 6 + 4) is outside dimension 0")));
  EXPECT_THROW(SlicedParam("w", {8, 4}, 2, 0, 1), c10::Error);
  EXPECT_THROW(SlicedParam("w", {8, 4}, 0, -1, 1), c10::Error);
}

TEST(ParameterSet, KeepsAddressesAndDeclarationOrder) {
  ParameterSet set;
  std::vector<Parameter*> declared;
  for (int i = 0; i < 100; ++i) {
    declared.push_back(
        set.Declare({.slice = WholeParam("p" + std::to_string(i), {1}), .trainable = i % 2 == 1}));
  }
  EXPECT_EQ(set.Find("p42"), declared[42]);
  EXPECT_EQ(set.Find("absent"), nullptr);
  ASSERT_EQ(set.Trainable().size(), 50u);
  EXPECT_EQ(set.Trainable()[7], declared[15]);
}

TEST(ParameterSet, SecondDeclarationOfANameIsRefused) {
  ParameterSet set;
  set.Declare({.slice = WholeParam("norm.weight", {4})});
  EXPECT_THROW(set.Declare({.slice = WholeParam("norm.weight", {4})}), c10::Error);
}

}  // namespace
}  // namespace fttrain
