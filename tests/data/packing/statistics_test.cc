#include "data/packing/statistics.h"

#include <gmock/gmock.h>

#include <string>
#include <utility>

namespace fttrain {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

constexpr int32_t kBos = 1, kEos = 2;

// Labels are the ids where `learnt` has an x.
Example Row(std::vector<int32_t> ids, const std::string& learnt) {
  Example row;
  for (size_t i = 0; i < ids.size(); ++i)
    row.labels.push_back(learnt[i] == 'x' ? ids[i] : kNoTarget);
  row.input_ids = std::move(ids);
  return row;
}

DatasetStatistics Of(std::vector<Example> rows, const RowOptions& options,
                     int64_t rows_per_step = 1) {
  RowStream stream = *RowStream::Create(std::move(rows), options);
  return StatisticsOf(stream, rows_per_step, {kBos, {kEos, 3}});
}

// The ends of bins with what is in them, as numbers.
std::vector<std::vector<int64_t>> Bins(const std::vector<int32_t>& lengths) {
  std::vector<std::vector<int64_t>> out;
  for (const LengthBin& bin : LengthBins(lengths)) out.push_back({bin.from, bin.to, bin.examples});
  return out;
}

TEST(LengthBins, AreWholeFromTheShortestToTheLongest) {
  EXPECT_THAT(Bins({}), IsEmpty());
  EXPECT_THAT(Bins({1, 16}), ElementsAre(ElementsAre(1, 16, 2)));
  EXPECT_THAT(Bins({17, 200, 32}), ElementsAre(ElementsAre(17, 32, 2), ElementsAre(33, 64, 0),
                                               ElementsAre(65, 128, 0), ElementsAre(129, 256, 1)));
  EXPECT_THAT(Bins({64}), ElementsAre(ElementsAre(33, 64, 1)));
}

TEST(Statistics, TellTheFirstOfThoseThatAreThereTwice) {
  const Example one = Row({kBos, 7, 8, kEos}, "--xx"), two = Row({kBos, 8, 7, kEos}, "--xx");
  const DatasetStatistics got =
      Of({one, two, Row({kBos, 9, kEos}, "-xx"), two, one, one}, {.sequence_len = 8});
  EXPECT_EQ(got.duplicates.examples, 3);
  EXPECT_EQ(got.duplicates.first, 3);
}

TEST(Statistics, FindWhatIsCutDroppedTwiceThereOrWithoutAnEnd) {
  const DatasetStatistics got = Of({Row({kBos, 7, 8, kEos}, "--xx"),     // as it should be
                                    Row({kBos, kBos, 8, kEos}, "--xx"),  // BOS twice
                                    Row({kBos, 7, 8, 9}, "--xx"),        // no end
                                    Row({kBos, 7, 8, kEos}, "--xx"),     // the first again
                                    Row({kBos, 7, 8, kEos}, "-xxx"),     // as text: other labels
                                    Row({kBos, 7, 8, 9, 9, kEos}, "--xxxx"),  // cut within
                                    Row({kBos, 7, 7, 7, 7, kEos}, "-----x"),  // nothing left
                                    Row({kBos, 7, 8}, "---")},                // nothing at all
                                   {.sequence_len = 4, .packing = false});
  EXPECT_EQ(got.double_bos.examples, 1);
  EXPECT_EQ(got.double_bos.first, 1);
  EXPECT_EQ(got.open_ends.examples, 1);
  EXPECT_EQ(got.open_ends.first, 2);
  EXPECT_EQ(got.duplicates.examples, 1);
  EXPECT_EQ(got.duplicates.first, 3);
  EXPECT_EQ(got.cut_targets.examples, 2);
  EXPECT_EQ(got.cut_targets.first, 5);
  EXPECT_EQ(got.without_target.examples, 1);
  EXPECT_EQ(got.without_target.first, 7);
  EXPECT_EQ(got.summary.examples, 6);
  EXPECT_EQ(got.summary.cut_tokens, 2);
  EXPECT_EQ(got.summary.dropped, 2);
  EXPECT_EQ(got.summary.dropped_tokens, 9);
  EXPECT_EQ(got.shortest, 3);
  EXPECT_EQ(got.median, 4);
}

TEST(Statistics, AnAnswerOfNothingButItsEndIsEmpty) {
  const DatasetStatistics got =
      Of({Row({kBos, 7, 8, kEos}, "--xx"),
          Row({kBos, 7, kEos, 8, 9, kEos}, "--x-xx"),                         // the first one
          Row({kBos, 7, kEos}, "--x"), Row({kBos, 7, 8, 9, kEos}, "--x--")},  // no end
         {.sequence_len = 16});
  EXPECT_EQ(got.empty_answers.examples, 2);
  EXPECT_EQ(got.empty_answers.first, 1);
  EXPECT_EQ(got.open_ends.examples, 1);
}

TEST(Statistics, EveryStretchThatIsLearntMustEnd) {
  const RowOptions options{.sequence_len = 16};
  // Ids 3 and EOS end a turn; the first answer of the second row ends with 9.
  EXPECT_EQ(Of({Row({7, 8, 3, 7, 8, kEos}, "-xx-xx")}, options).open_ends.examples, 0);
  EXPECT_EQ(Of({Row({7, 8, 9, 7, 8, kEos}, "-xx-xx")}, options).open_ends.examples, 1);
  // Of a text all is learnt.
  EXPECT_EQ(Of({Row({7, 8, 9}, "xxx")}, options).open_ends.examples, 0);
  // Nobody knows what ends a turn.
  RowStream rows = *RowStream::Create({{Row({7, 8, 9}, "--x")}}, options);
  EXPECT_EQ(StatisticsOf(rows, 1, {}).open_ends.examples, 0);
}

TEST(Statistics, TheLastStepOfAnEpochIsFilledFromTheNext) {
  const std::vector<Example> rows(10, Row({kBos, 7, kEos}, "-xx"));
  const DatasetStatistics got = Of(rows, {.sequence_len = 8, .packing = false}, 4);
  EXPECT_EQ(got.rows_per_step, 4);
  EXPECT_EQ(got.steps_per_epoch, 3);
  EXPECT_EQ(got.next_epoch_rows, 2);
  const DatasetStatistics packed = Of(rows, {.sequence_len = 8, .packing = true}, 5);
  EXPECT_EQ(packed.summary.rows, 5);
  EXPECT_EQ(packed.steps_per_epoch, 1);
  EXPECT_EQ(packed.next_epoch_rows, 0);
}

}  // namespace
}  // namespace fttrain
