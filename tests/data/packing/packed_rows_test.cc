// Rows that are kept: the same as rows that are packed, and without a look at the examples.
#include "data/packing/packed_rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <utility>

#include "data/packing/held_out.h"
#include "data/packing/packer.h"
#include "tests/temp_folder.h"

namespace fttrain {
namespace {

namespace fs = std::filesystem;

// Examples of lengths that repeat, some without a target, and how many of them were looked at.
class Counting : public ExampleStore {
 public:
  explicit Counting(int64_t size) : size_(size) {}
  int64_t size() const override { return size_; }
  Example Get(int64_t i) const override {
    ++looks_;
    Example out;
    for (int32_t t = 0; t < 2 + i * 7 % 23; ++t) {
      out.input_ids.push_back(static_cast<int32_t>(100 * i) + t);
      out.labels.push_back(i % 10 == 9 ? kNoTarget : out.input_ids.back());
    }
    out.source = SourceOf(i);
    return out;
  }
  ExampleSize SizeOf(int64_t i) const override {
    ++looks_;
    const int64_t tokens = 2 + i * 7 % 23;
    return {tokens, tokens, i % 10 == 9 ? 0 : tokens - 1};
  }
  std::string SourceOf(int64_t i) const override { return "a.jsonl:" + std::to_string(i + 1); }
  bool BeginsRow(int64_t) const override { return true; }
  std::string Digest() const override { return "digest of " + std::to_string(size_); }
  const TokenUse& Use() const override { return use_; }

  int64_t TakeLooks() { return std::exchange(looks_, 0); }

 private:
  int64_t size_;
  TokenUse use_;
  mutable int64_t looks_ = 0;
};

class PackedRowsTest : public testing::Test {
 protected:
  RowStream Stream(RowOptions options, std::vector<WeightedPart> parts = {}) {
    auto stream = RowStream::Create(ExampleList(store_), options, std::move(parts), cache_);
    EXPECT_TRUE(stream.ok()) << stream.status();
    return *std::move(stream);
  }
  std::vector<std::string> Files() const {
    std::vector<std::string> files;
    for (const auto& entry : fs::directory_iterator(cache_.folder)) files.push_back(entry.path());
    return files;
  }
  // Rows, summary and looks, of a stream that keeps them and of one that does not.
  void ExpectSame(const RowOptions& options, std::vector<WeightedPart> parts, bool looks) {
    store_->TakeLooks();
    RowStream kept = Stream(options, parts);
    kept.EndAfterEpochs(3, 4);
    EXPECT_EQ(store_->TakeLooks() > 0, looks);
    auto want = RowStream::Create(ExampleList(store_), options, std::move(parts));
    ASSERT_TRUE(want.ok()) << want.status();
    want->EndAfterEpochs(3, 4);
    EXPECT_EQ(std::memcmp(&kept.summary(), &want->summary(), sizeof(DatasetSummary)), 0);
    for (int64_t step = 0; step < want->summary().stream_rows / 4 + 1; ++step) {
      const StepShape shape{.micro_batch_size = 4};
      EXPECT_EQ(kept.TrainMicrobatch(step, shape, 0, 0).examples,
                want->TrainMicrobatch(step, shape, 0, 0).examples);
    }
  }

  TempFolder folder_;
  RowCache cache_ = {folder_.path(), "program"};
  std::shared_ptr<Counting> store_ = std::make_shared<Counting>(200);
};

TEST_F(PackedRowsTest, AreThoseThatPackingGivesAndNeedNoLookAtTheExamples) {
  for (const RowFit fit : {RowFit::kFirst, RowFit::kBest}) {
    const RowOptions options{.sequence_len = 30, .seed = 4, .fit = fit};
    ExpectSame(options, {}, true);
    ExpectSame(options, {}, false);
    ExpectSame(options, {{50, 0.5}, {200, 2}}, true);
    ExpectSame(options, {{50, 0.5}, {200, 2}}, false);
  }
  EXPECT_EQ(Files().size(), 4 * 3u);  // an epoch each, and nothing else
}

TEST_F(PackedRowsTest, AnEpochThatIsNotThereIsPackedAfterOnesThatAre) {
  const RowOptions options{.sequence_len = 30};
  Stream(options);
  RowStream kept = Stream(options);
  auto want = *RowStream::Create(ExampleList(store_), options);
  const int64_t rows = want.summary().rows;
  for (const int64_t step : {rows + 2, 2 * rows + 3, int64_t{0}}) {
    EXPECT_EQ(kept.TrainMicrobatch(step, {}, 0, 0).examples,
              want.TrainMicrobatch(step, {}, 0, 0).examples);
  }
}

TEST_F(PackedRowsTest, AreOthersWhereAnythingThatDecidesThemIsAnother) {
  const auto looked = [this] { return store_->TakeLooks() > 0; };
  const RowOptions options{.sequence_len = 30, .seed = 4};
  Stream(options);
  EXPECT_TRUE(looked());
  Stream({.sequence_len = 31, .seed = 4});
  EXPECT_TRUE(looked());
  Stream({.sequence_len = 30, .seed = 5});
  EXPECT_TRUE(looked());
  Stream({.sequence_len = 30, .shuffle = false, .seed = 4});
  EXPECT_TRUE(looked());
  Stream({.sequence_len = 30, .seed = 4, .fit = RowFit::kBest});
  EXPECT_TRUE(looked());
  Stream(options, {{60, 1}, {200, 1.5}});
  EXPECT_TRUE(looked());
  cache_.program = "another";
  Stream(options);
  EXPECT_TRUE(looked());
  cache_.program = "program";
  Stream(options);
  EXPECT_FALSE(looked());
  store_ = std::make_shared<Counting>(201);
  Stream(options);
  EXPECT_TRUE(looked());
  // Held out are others, and what is left too.
  ExampleList left(store_);
  std::vector<int64_t> ends;
  ASSERT_TRUE(HoldOut(0.1, 3, left, ends).ok());
  EXPECT_FALSE(looked());
  ASSERT_TRUE(RowStream::Create(left, options, {}, cache_).ok());
  EXPECT_TRUE(looked());
}

TEST_F(PackedRowsTest, ADamagedFileIsMadeAnew) {
  const RowOptions options{.sequence_len = 30};
  Stream(options);
  const std::string path = Files().at(0);
  const auto size = static_cast<int64_t>(fs::file_size(path));
  for (const int64_t place : {int64_t{0}, int64_t{9}, int64_t{17}, int64_t{30}, int64_t{50},
                              int64_t{120}, size / 2, size - 1, int64_t{-1}}) {
    if (place < 0) {
      fs::resize_file(path, static_cast<uintmax_t>(size - 4));
    } else {
      std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
      file.seekg(place);
      const char byte = static_cast<char>(file.get() ^ 1);
      file.seekp(place);
      file.put(byte);
    }
    ExpectSame(options, {}, true);
    ExpectSame(options, {}, false);
  }
}

TEST_F(PackedRowsTest, WhereNothingCanBeWrittenEveryProcessPacks) {
  cache_.folder = folder_ / "none";
  ExpectSame({.sequence_len = 30}, {}, true);
  ExpectSame({.sequence_len = 30}, {}, true);
  EXPECT_FALSE(fs::exists(cache_.folder));
}

TEST_F(PackedRowsTest, ErrorsAreThoseOfTheExamplesAndLeaveNoFile) {
  const std::vector<Example> masked(3, {{1, 2}, {kNoTarget, kNoTarget}, "a.jsonl:1"});
  EXPECT_FALSE(RowStream::Create(masked, {.sequence_len = 4}, {}, cache_).ok());
  EXPECT_TRUE(Files().empty());
}

}  // namespace
}  // namespace fttrain
