#include "launch/run/rows_ahead.h"

#include <gtest/gtest.h>

namespace fttrain {
namespace {

std::shared_ptr<RowStream> Rows(bool packing) {
  std::vector<Example> examples;
  for (int e = 0; e < 60; ++e) {
    Example& example = examples.emplace_back();
    for (int i = 0; i < 2 + e % 9; ++i) example.input_ids.push_back(100 * e + i);
    example.labels = example.input_ids;
  }
  const RowOptions options{.sequence_len = 16, .packing = packing, .seed = 4};
  return std::make_shared<RowStream>(RowStream::Create(std::move(examples), options).value());
}

TEST(RowsAhead, GivesTheRowsOfTheStepWhateverWasPrepared) {
  const StepShape shape{.micro_batch_size = 2, .accumulation = 3, .dp_size = 2};
  for (const bool packing : {false, true}) {
    const std::shared_ptr<RowStream> want = Rows(packing);
    RowsAhead ahead(Rows(packing), shape, 1);
    const auto expect = [&](int64_t step) {
      const auto got = ahead.Take(step), rows = want->TrainMicrobatches(step, shape, 1);
      ASSERT_EQ(got.size(), rows.size());
      for (size_t i = 0; i < rows.size(); ++i) {
        EXPECT_EQ(got[i].input_ids, rows[i].input_ids) << "step " << step;
        EXPECT_EQ(got[i].token_index, rows[i].token_index) << "step " << step;
      }
    };
    for (int64_t step = 0; step < 12; ++step) {
      expect(step);
      ahead.Prepare(step + 1);
    }
    expect(3);  // not the one that is prepared
    ahead.Prepare(5);
    ahead.Prepare(5);
    ahead.Prepare(7);
    expect(7);
    expect(7);
    ahead.Prepare(9);  // and is left
  }
}

TEST(RowsAhead, IsReadBesideOthersOfTheSameStream) {
  const std::shared_ptr<RowStream> rows = Rows(true), want = Rows(true);
  RowsAhead a(rows, {}, 0), b(rows, {}, 0);
  for (int64_t step = 0; step < 200; ++step) {
    a.Prepare(step);
    b.Prepare(step + 50);
    EXPECT_EQ(rows->TrainMicrobatch(step, {}, 0, 0).input_ids,
              want->TrainMicrobatch(step, {}, 0, 0).input_ids);
    EXPECT_EQ(a.Take(step)[0].input_ids, want->TrainMicrobatch(step, {}, 0, 0).input_ids);
    EXPECT_EQ(b.Take(step + 50)[0].input_ids, want->TrainMicrobatch(step + 50, {}, 0, 0).input_ids);
  }
}

}  // namespace
}  // namespace fttrain
