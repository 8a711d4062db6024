#include "data/packing/held_out.h"

#include <gmock/gmock.h>

#include <set>
#include <string>

#include "absl/strings/str_cat.h"
#include "tests/status_text.h"

namespace fttrain {
namespace {

using ::testing::HasSubstr;

// One example a row, but for every fourth row, which became three.
std::vector<Example> Rows(int count) {
  std::vector<Example> examples;
  for (int row = 0; row < count; ++row) {
    for (int piece = 0; piece < (row % 4 == 3 ? 3 : 1); ++piece) {
      examples.push_back({{row, piece}, {row, piece}, absl::StrCat("a.jsonl:", row + 1)});
    }
  }
  return examples;
}

std::set<std::string> SourcesOf(const ExampleList& examples) {
  std::set<std::string> sources;
  for (const Example& example : examples) sources.insert(example.source);
  return sources;
}

TEST(HoldOut, TakesTheShareOfRowsWithAllThatBecameOfEach) {
  ExampleList examples = Rows(40);
  const size_t all = examples.size();
  std::vector<int64_t> ends = {30, static_cast<int64_t>(all)};
  const auto held = HoldOut(0.25, 7, examples, ends);
  ASSERT_TRUE(held.ok()) << held.status();
  EXPECT_EQ(held->size() + examples.size(), all);
  EXPECT_EQ(SourcesOf(*held).size(), 10u);
  for (const std::string& source : SourcesOf(*held)) {
    EXPECT_EQ(SourcesOf(examples).count(source), 0u) << source;
  }
}

TEST(HoldOut, LeavesWhatIsLearntInItsOrderAndItsFiles) {
  ExampleList examples = Rows(40);
  const std::string first_of_second = examples[30].source;
  std::vector<int64_t> ends = {30, static_cast<int64_t>(examples.size())};
  ASSERT_TRUE(HoldOut(0.25, 7, examples, ends).ok());
  EXPECT_EQ(ends[1], static_cast<int64_t>(examples.size()));
  for (size_t i = 1; i < examples.size(); ++i) {
    EXPECT_LE(examples[i - 1].input_ids[0], examples[i].input_ids[0]);
  }
  for (size_t i = 0; i < examples.size(); ++i) {
    const bool in_first = examples[i].input_ids < Rows(40)[30].input_ids;
    EXPECT_EQ(in_first, static_cast<int64_t>(i) < ends[0]) << examples[i].source;
  }
}

TEST(HoldOut, IsOneOfASeedAndAnotherOfTheNext) {
  std::vector<int64_t> ends;
  ExampleList a = Rows(100), b = Rows(100), c = Rows(100);
  const auto held_a = HoldOut(0.1, 1, a, ends), held_b = HoldOut(0.1, 1, b, ends),
             held_c = HoldOut(0.1, 2, c, ends);
  EXPECT_EQ(SourcesOf(*held_a), SourcesOf(*held_b));
  EXPECT_NE(SourcesOf(*held_a), SourcesOf(*held_c));
}

TEST(HoldOut, TakesOneRowAtLeastAndLeavesOneAtLeast) {
  std::vector<int64_t> ends;
  ExampleList two = Rows(2), one = Rows(1);
  EXPECT_EQ(HoldOut(0.001, 1, two, ends)->size(), 1u);
  EXPECT_THAT(ErrorText(HoldOut(0.5, 1, one, ends).status()),
              HasSubstr("'data.eval_fraction' 0.5 of 1 row leaves none to learn"));
}

}  // namespace
}  // namespace fttrain
