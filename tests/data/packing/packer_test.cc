#include "data/packing/packer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "data/packing/order.h"
#include "tests/status_text.h"

namespace fttrain {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Example e of length n has ids 1000 e, 1000 e + 1, ...; the first `masked` labels are no targets.
Example Doc(int e, int n, int masked = 0) {
  Example out;
  for (int i = 0; i < n; ++i) {
    out.input_ids.push_back(1000 * e + i);
    out.labels.push_back(i < masked ? kNoTarget : 1000 * e + i);
  }
  out.source = "t.jsonl:" + std::to_string(e + 1);
  return out;
}

std::vector<Example> Docs(int count) {
  std::vector<Example> docs;
  for (int e = 0; e < count; ++e) docs.push_back(Doc(e, 2 + (e * 7) % 23, e % 2));
  return docs;
}

RowStream MustCreate(const std::vector<Example>& docs, RowOptions options) {
  auto stream = RowStream::Create(docs, options);
  EXPECT_TRUE(stream.ok()) << stream.status();
  return *std::move(stream);
}

TEST(RowStream, MicrobatchOfOnePackedRowIsDocumentsBackToBack) {
  const std::vector<Example> docs = {Doc(0, 3, 1), Doc(1, 2)};
  RowStream stream = MustCreate(docs, {.sequence_len = 8, .packing = true, .shuffle = false});
  const Microbatch m = stream.TrainMicrobatch(0, {}, 0, 0);
  EXPECT_THAT(m.input_ids, ElementsAre(0, 1, 2, 1000, 1001));
  EXPECT_THAT(m.targets, ElementsAre(1, 2, kNoTarget, 1001, kNoTarget));
  EXPECT_THAT(m.cu_seqlens, ElementsAre(0, 3, 5));
  EXPECT_THAT(m.token_index, ElementsAre(0, 1, 2, 3, 4));
  EXPECT_EQ(m.num_targets, 3);
}

TEST(RowStream, LabelsAreShiftedWithinADocumentAndNeverLeakIntoTheNext) {
  std::vector<Example> docs = {Doc(0, 3), Doc(1, 3)};
  docs[0].labels = {5, kNoTarget, 7};
  docs[1].labels = {9, 8, kNoTarget};
  RowStream stream = MustCreate(docs, {.sequence_len = 8, .packing = true, .shuffle = false});
  EXPECT_THAT(stream.TrainMicrobatch(0, {}, 0, 0).targets,
              ElementsAre(kNoTarget, 7, kNoTarget, 8, kNoTarget, kNoTarget));
}

TEST(RowStream, WithoutPackingARowIsOneExampleAndRowsStandBackToBack) {
  const std::vector<Example> docs = {Doc(0, 3), Doc(1, 2), Doc(2, 4)};
  RowStream stream = MustCreate(docs, {.sequence_len = 8, .packing = false, .shuffle = false});
  const Microbatch m = stream.TrainMicrobatch(0, {.micro_batch_size = 2}, 0, 0);
  EXPECT_THAT(m.cu_seqlens, ElementsAre(0, 3, 5));
  EXPECT_THAT(m.token_index, ElementsAre(0, 1, 2, 8, 9));
}

TEST(RowStream, NoRowHoldsMoreDocumentsThanTheShortestThatFit) {
  const std::vector<Example> docs = {Doc(0, 7), Doc(1, 2), Doc(2, 30), Doc(3, 2),
                                     Doc(4, 3), Doc(5, 2), Doc(6, 5),  Doc(7, 4)};
  RowStream stream = MustCreate(docs, {.sequence_len = 8, .packing = true, .shuffle = true});
  EXPECT_EQ(stream.summary().most_documents, 3);  // 2 + 2 + 2
  for (int64_t step = 0; step < 200; ++step) {
    EXPECT_LE(stream.TrainMicrobatch(step, {}, 0, 0).cu_seqlens.size(), 1 + 3u);
  }
  for (const RowOptions& options :
       {RowOptions{.sequence_len = 100}, RowOptions{.sequence_len = 9}}) {
    const int64_t most = options.sequence_len == 100 ? 8 : 4;  // all; 2 + 2 + 2 + 3
    EXPECT_EQ(MustCreate(docs, options).summary().most_documents, most);
  }
  EXPECT_EQ(MustCreate(docs, {.sequence_len = 8, .packing = false}).summary().most_documents, 1);
}

TEST(RowStream, LongExamplesKeepTheirStartAndAreCounted) {
  const std::vector<Example> docs = {Doc(0, 10), Doc(1, 4)};
  RowStream stream = MustCreate(docs, {.sequence_len = 4, .packing = true, .shuffle = false});
  EXPECT_EQ(stream.summary().truncated, 1);
  EXPECT_EQ(stream.summary().tokens, 8);
  EXPECT_EQ(stream.summary().longest, 10);
  const Microbatch m = stream.TrainMicrobatch(0, {}, 0, 0);
  EXPECT_THAT(m.input_ids, ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(m.targets, ElementsAre(1, 2, 3, kNoTarget));
}

TEST(RowStream, ExamplesWithoutATargetOnceCutAreDroppedAndCounted) {
  const std::vector<Example> docs = {Doc(0, 10, /*masked=*/4), Doc(1, 4), Doc(2, 3, 3)};
  RowStream stream = MustCreate(docs, {.sequence_len = 4, .packing = true, .shuffle = true});
  EXPECT_EQ(stream.summary().dropped, 2);
  EXPECT_EQ(stream.summary().examples, 1);
  EXPECT_EQ(stream.RowsInEpoch(0), 1);
}

TEST(RowStream, WithPackingAndShuffleOffRowsAreTheFilesRowsExactly) {
  const std::vector<Example> docs = {Doc(0, 3, 3), Doc(1, 4)};
  RowStream stream = MustCreate(docs, {.sequence_len = 4, .packing = false, .shuffle = false});
  EXPECT_EQ(stream.summary().dropped, 0);
  EXPECT_EQ(stream.TrainMicrobatch(0, {}, 0, 0).input_ids, docs[0].input_ids);
  EXPECT_EQ(stream.TrainMicrobatch(0, {}, 0, 0).num_targets, 0);
}

TEST(RowStream, AllMaskedDataIsRefused) {
  std::vector<Example> docs = {Doc(0, 5, 5), Doc(1, 5, 5)};
  docs[0].labels[0] = 0;  // no target: nothing stands before it
  for (const bool packing : {false, true}) {
    const auto stream =
        RowStream::Create(docs, {.sequence_len = 4, .packing = packing, .shuffle = packing});
    EXPECT_THAT(ErrorText(stream), HasSubstr("none of the 2 examples"));
  }
}

TEST(RowStream, EmptyOrInconsistentExamplesAreRefusedByName) {
  const std::vector<Example> none;
  EXPECT_FALSE(RowStream::Create(none, {.sequence_len = 4}).ok());
  std::vector<Example> docs = {Doc(0, 3), Doc(1, 3)};
  EXPECT_FALSE(RowStream::Create(docs, {.sequence_len = 1}).ok());
  docs[1].labels.pop_back();
  const auto stream = RowStream::Create(docs, {.sequence_len = 4});
  EXPECT_THAT(ErrorText(stream), HasSubstr("t.jsonl:2: 3 tokens and 2 labels"));
}

// token_index -> (id, target) of a whole step, over all dp ranks and microbatches.
std::map<int64_t, std::pair<int32_t, int32_t>> StepTokens(RowStream& stream, int64_t step,
                                                          const StepShape& shape) {
  std::map<int64_t, std::pair<int32_t, int32_t>> tokens;
  for (int64_t d = 0; d < shape.dp_size; ++d) {
    for (const Microbatch& m : stream.TrainMicrobatches(step, shape, d)) {
      for (size_t i = 0; i < m.input_ids.size(); ++i) {
        EXPECT_TRUE(tokens.insert({m.token_index[i], {m.input_ids[i], m.targets[i]}}).second);
      }
    }
  }
  return tokens;
}

TEST(RowStream, AStepHoldsTheSameTokensUnderTheSameNamesInEveryLayout) {
  const std::vector<Example> docs = Docs(41);
  const StepShape layouts[] = {{8, 1, 1}, {1, 8, 1}, {1, 1, 8}, {2, 2, 2}, {4, 1, 2}, {1, 2, 4}};
  for (const bool packing : {false, true}) {
    RowStream stream = MustCreate(docs, {.sequence_len = 24, .packing = packing, .seed = 3});
    for (int64_t step = 0; step < 20; ++step) {
      const auto want = StepTokens(stream, step, layouts[0]);
      for (const StepShape& shape : layouts) {
        RowStream fresh = MustCreate(docs, {.sequence_len = 24, .packing = packing, .seed = 3});
        EXPECT_EQ(StepTokens(fresh, step, shape), want)
            << "step " << step << " dp " << shape.dp_size;
      }
    }
  }
}

TEST(RowStream, ARankTakesRowsAsTheHeaderSays) {
  std::vector<Example> docs;
  for (int e = 0; e < 16; ++e) docs.push_back(Doc(e, 2));
  RowStream stream = MustCreate(docs, {.sequence_len = 2, .packing = false, .shuffle = false});
  const StepShape shape{.micro_batch_size = 2, .accumulation = 2, .dp_size = 2};
  const Microbatch m = stream.TrainMicrobatch(1, shape, /*accumulation_index=*/1, /*dp_rank=*/1);
  // Rows of step 1 begin at 8; microbatch 1 of dp rank 1 is rows (1 * 2 + 1) * 2 = 6 and 7 of it.
  EXPECT_THAT(m.input_ids, ElementsAre(14000, 14001, 15000, 15001));
  EXPECT_THAT(m.token_index, ElementsAre(12, 13, 14, 15));
}

TEST(RowStream, EveryEpochHoldsEveryExampleOnce) {
  const std::vector<Example> docs = Docs(41);
  for (const bool packing : {false, true}) {
    RowStream stream = MustCreate(docs, {.sequence_len = 30, .packing = packing, .seed = 9});
    int64_t row = 0;
    for (int64_t epoch = 0; epoch < 4; ++epoch) {
      std::multiset<int32_t> first_ids;
      for (int64_t r = 0; r < stream.RowsInEpoch(epoch); ++r, ++row) {
        const Microbatch m = stream.TrainMicrobatch(row, {}, 0, 0);
        EXPECT_LE(m.input_ids.size(), 30u);
        for (size_t j = 0; j + 1 < m.cu_seqlens.size(); ++j) {
          first_ids.insert(m.input_ids[static_cast<size_t>(m.cu_seqlens[j])]);
        }
      }
      EXPECT_EQ(first_ids.size(), 41u);
      EXPECT_EQ(std::set<int32_t>(first_ids.begin(), first_ids.end()).size(), 41u);
    }
  }
}

TEST(RowStream, AStepCutByTheEndOfAnEpochIsFilledFromTheNext) {
  const std::vector<Example> docs = {Doc(0, 2), Doc(1, 2), Doc(2, 2)};
  RowStream stream = MustCreate(docs, {.sequence_len = 2, .packing = false, .shuffle = false});
  EXPECT_THAT(stream.TrainMicrobatch(1, {.micro_batch_size = 2}, 0, 0).input_ids,
              ElementsAre(2000, 2001, 0, 1));
}

TEST(RowStream, EpochsEndInAStepThatHasTheRowsThatAreLeft) {
  struct Case {
    double epochs;
    int64_t rows_per_step, steps, rows_of_last;
  };
  const std::vector<Example> docs = Docs(10);
  for (const Case& c : {Case{1, 4, 3, 2}, Case{2, 4, 5, 4}, Case{0.5, 4, 2, 1}, Case{1.5, 5, 3, 5},
                        Case{1, 64, 1, 10}, Case{1.1, 4, 3, 3}, Case{1e-9, 4, 1, 1}}) {
    RowStream stream = MustCreate(docs, {.sequence_len = 64, .packing = false});
    EXPECT_EQ(RowsOfStep(stream.summary(), 1000, c.rows_per_step), c.rows_per_step);
    EXPECT_EQ(stream.EndAfterEpochs(c.epochs, c.rows_per_step), c.steps) << c.epochs;
    EXPECT_EQ(RowsOfStep(stream.summary(), c.steps - 1, c.rows_per_step), c.rows_of_last);
    EXPECT_EQ(RowsOfStep(stream.summary(), c.steps, c.rows_per_step), 0);
  }
}

// How often each example was in a run's steps, by its first id.
std::map<int32_t, int> TimesLearnt(RowStream& stream, int64_t steps, const StepShape& shape) {
  std::map<int32_t, int> times;
  for (int64_t step = 0; step < steps; ++step) {
    for (int64_t d = 0; d < shape.dp_size; ++d) {
      for (const Microbatch& m : stream.TrainMicrobatches(step, shape, d)) {
        for (size_t j = 0; j + 1 < m.cu_seqlens.size(); ++j) {
          ++times[m.input_ids[static_cast<size_t>(m.cu_seqlens[j])]];
        }
      }
    }
  }
  return times;
}

TEST(RowStream, AnExampleIsLearntAsOftenAsThereAreEpochsWhateverRowsAStepHas) {
  for (const bool packing : {false, true}) {
    for (const StepShape& shape : {StepShape{2, 2, 2}, StepShape{3, 1, 1}, StepShape{1, 1, 50}}) {
      RowStream stream = MustCreate(Docs(41), {.sequence_len = 30, .packing = packing, .seed = 9});
      const int64_t steps = stream.EndAfterEpochs(3, shape.rows_per_step());
      const auto times = TimesLearnt(stream, steps, shape);
      EXPECT_EQ(times.size(), 41u);
      for (const auto& [id, count] : times) EXPECT_EQ(count, 3) << "example of " << id;
    }
  }
}

TEST(RowStream, AfterItsEndMicrobatchesHaveFewerRowsOrNone) {
  const std::vector<Example> docs = {Doc(0, 2), Doc(1, 2), Doc(2, 2)};
  RowStream stream = MustCreate(docs, {.sequence_len = 2, .packing = false, .shuffle = false});
  const StepShape shape{.micro_batch_size = 2, .accumulation = 1, .dp_size = 2};
  EXPECT_EQ(stream.EndAfterEpochs(1, shape.rows_per_step()), 1);
  EXPECT_THAT(stream.TrainMicrobatch(0, shape, 0, 1).input_ids, ElementsAre(2000, 2001));
  stream.EndAfterEpochs(0.5, shape.rows_per_step());
  const Microbatch none = stream.TrainMicrobatch(0, shape, 0, 1);
  EXPECT_TRUE(none.input_ids.empty());
  EXPECT_THAT(none.cu_seqlens, ElementsAre(0));
  EXPECT_EQ(none.num_targets, 0);
}

TEST(RowStream, AStepWithoutATargetIsFoundBeforeItIsReached) {
  // Rows 2 and 3 of five are masked.
  const std::vector<Example> docs = {Doc(0, 2), Doc(1, 2), Doc(2, 2, 2), Doc(3, 2, 2), Doc(4, 2)};
  const auto found = [&](const RowOptions& options, double epochs, int64_t steps, int64_t rows) {
    RowStream stream = MustCreate(docs, options);
    if (epochs > 0) steps = stream.EndAfterEpochs(epochs, rows);
    return stream.FirstStepWithoutTarget(steps, rows);
  };
  const RowOptions as_given{.sequence_len = 2, .packing = false, .shuffle = false};
  EXPECT_EQ(found(as_given, 0, 2, 1), std::nullopt);
  EXPECT_EQ(found(as_given, 0, 3, 1), 2);
  EXPECT_EQ(found(as_given, 0, 1000000, 3), std::nullopt);
  EXPECT_EQ(found(as_given, 0, 1000000, 2), 1);
  EXPECT_EQ(found(as_given, 1, 0, 3), std::nullopt);
  EXPECT_EQ(found(as_given, 1.6, 0, 7), 1) << "the step that the epochs' end cuts has row 2 only";
  EXPECT_EQ(found({.sequence_len = 2, .packing = false}, 0, 1000, 1), std::nullopt);
}

TEST(RowStream, TargetsOfTheSummaryAreTheTargetsOfTheEpoch) {
  const std::vector<Example> docs = Docs(41);
  RowStream stream = MustCreate(docs, {.sequence_len = 16, .packing = true});
  int64_t targets = 0, tokens = 0;
  for (int64_t r = 0; r < stream.RowsInEpoch(0); ++r) {
    const Microbatch m = stream.TrainMicrobatch(r, {}, 0, 0);
    targets += m.num_targets;
    tokens += static_cast<int64_t>(m.input_ids.size());
    EXPECT_EQ(m.num_targets, std::count_if(m.targets.begin(), m.targets.end(),
                                           [](int32_t t) { return t != kNoTarget; }));
  }
  EXPECT_EQ(targets, stream.summary().targets);
  EXPECT_EQ(tokens, stream.summary().tokens);
  EXPECT_EQ(stream.summary().rows, stream.RowsInEpoch(0));
}

TEST(RowStream, WeightsSayHowOftenAnEpochHasAFilesExamples) {
  for (const bool packing : {false, true}) {
    const RowOptions options{.sequence_len = 30, .packing = packing, .seed = 9};
    auto stream = RowStream::Create(Docs(41), options, {{10, 2}, {31, 0.5}, {41, 1}});
    ASSERT_TRUE(stream.ok()) << stream.status();
    const int64_t rows = stream->EndAfterEpochs(2, 1);
    const auto times = TimesLearnt(*stream, rows, {});
    EXPECT_EQ(times.size(), 41u);
    for (const auto& [id, count] : times) {
      EXPECT_EQ(count, id < 10000 ? 4 : id < 31000 ? 1 : 2) << "example of " << id;
    }
  }
}

TEST(RowStream, WeightsCountExamplesThatAreKept) {
  // Of the second file one of two has a target.
  const std::vector<Example> docs = {Doc(0, 2), Doc(1, 2), Doc(2, 2, 2), Doc(3, 2)};
  auto stream = RowStream::Create(docs, {.sequence_len = 2, .packing = false}, {{2, 1}, {4, 3}});
  ASSERT_TRUE(stream.ok()) << stream.status();
  EXPECT_EQ(stream->RowsInEpoch(0), 2 + 3);
  EXPECT_EQ(TimesLearnt(*stream, 5, {}), (std::map<int32_t, int>{{0, 1}, {1000, 1}, {3000, 3}}));
  EXPECT_THAT(ErrorText(RowStream::Create(std::vector<Example>{Doc(0, 2), Doc(1, 2)},
                                          {.sequence_len = 2}, {{2, 0.1}})),
              HasSubstr("with these weights of data.train an epoch has no example"));
}

TEST(RowStream, WeightsOfOneAreNoWeights) {
  const RowOptions options{.sequence_len = 24, .packing = true, .seed = 3};
  RowStream plain = MustCreate(Docs(41), options);
  auto weighed = RowStream::Create(Docs(41), options, {{10, 1}, {41, 1}});
  for (int64_t step = 0; step < 20; ++step) {
    EXPECT_EQ(plain.TrainMicrobatch(step, {}, 0, 0).input_ids,
              weighed->TrainMicrobatch(step, {}, 0, 0).input_ids);
  }
}

TEST(RowStream, BestFitHoldsEveryExampleOnceInRowsThatAreFull) {
  std::vector<Example> docs;
  for (int e = 0; e < 3000; ++e) docs.push_back(Doc(e, 2 + (e * 7919) % 157));
  const RowOptions options{.sequence_len = 512, .seed = 5, .fit = RowFit::kBest};
  RowStream stream = MustCreate(docs, options), again = MustCreate(docs, options);
  std::map<int32_t, int> times;
  int64_t row = 0;
  for (const int64_t epoch : {0, 1}) {
    const auto rows = static_cast<double>(stream.RowsInEpoch(epoch));
    EXPECT_GT(static_cast<double>(stream.summary().tokens) / (rows * 512), 0.99);
    for (int64_t r = 0; r < stream.RowsInEpoch(epoch); ++r, ++row) {
      const Microbatch m = stream.TrainMicrobatch(row, {}, 0, 0);
      EXPECT_LE(m.input_ids.size(), 512u);
      EXPECT_EQ(m.input_ids, again.TrainMicrobatch(row, {}, 0, 0).input_ids);
      for (const int64_t example : m.examples) ++times[static_cast<int32_t>(example)];
    }
  }
  EXPECT_EQ(times.size(), 3000u);
  for (const auto& [example, count] : times) EXPECT_EQ(count, 2) << example;
}

}  // namespace
}  // namespace fttrain
