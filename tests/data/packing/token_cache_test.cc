// Tokens that are kept: the examples are those that reading the file gives, whatever happened to
// whoever made them.
#include "data/packing/token_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "data/packing/file_digest.h"
#include "data/packing/packer.h"
#include "data/packing/token_file.h"
#include "tests/data/formats/rows.h"
#include "tests/status_text.h"

namespace fttrain {
namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::HasSubstr;
using enum RowFormat;

std::string Lines(int count, int seed = 0) {
  std::string text;
  for (int i = 0; i < count; ++i) {
    absl::StrAppend(&text, R"({"messages": [{"role": "user", "content": "Question )", i, " of ",
                    seed, R"("}, {"role": "assistant", "content": ")", std::string(i % 37, 'x'),
                    " is ", i * 7919 % 1000, R"("}], "id": )", i, "}\n");
  }
  return text;
}

class TokenCacheTest : public RowsTest {
 protected:
  TokenCacheTest() {
    cache_.folder = folder_ / "cache";
    cache_.texts = "tokenizer";
    cache_.say = [this](const std::string& text) { said_.push_back(text); };
  }
  absl::StatusOr<CachedDataset> Get(const DatasetSpec& spec) {
    said_.clear();
    return LoadCached(spec, options_, cache_);
  }
  // As reading it says; `made`: whether the tokens were made now.
  void ExpectSame(const DatasetSpec& spec, bool made) {
    const auto want = LoadDataset(spec, options_);
    ASSERT_TRUE(want.ok()) << want.status();
    const auto got = Get(spec);
    ASSERT_TRUE(got.ok()) << got.status();
    EXPECT_EQ(said_.size(), made ? 1u : 0u) << (said_.empty() ? "" : said_[0]);
    ASSERT_EQ(got->examples.size(), want->examples.size());
    const ExampleList in_memory = want->examples;
    for (size_t i = 0; i < want->examples.size(); ++i) {
      const Example example = got->examples[i];
      EXPECT_EQ(example.input_ids, want->examples[i].input_ids);
      EXPECT_EQ(example.labels, want->examples[i].labels);
      EXPECT_EQ(example.source, want->examples[i].source);
      EXPECT_EQ(got->examples.SourceOf(i), want->examples[i].source);
      EXPECT_EQ(got->examples.SizeOf(i).tokens, in_memory.SizeOf(i).tokens);
      EXPECT_EQ(got->examples.SizeOf(i).targets, in_memory.SizeOf(i).targets);
    }
    EXPECT_EQ(got->examples.Digest(0, want->examples.size()),
              in_memory.Digest(0, want->examples.size()));
    EXPECT_EQ(got->examples.Use().there, in_memory.Use().there);
    EXPECT_EQ(got->examples.Use().learnt, in_memory.Use().learnt);
    ExpectSameReport(got->report, want->report);
  }
  static void ExpectSameReport(const DatasetReport& got, const DatasetReport& want) {
    EXPECT_EQ(got.path, want.path);
    EXPECT_EQ(got.format, want.format);
    EXPECT_EQ(got.rows, want.rows);
    EXPECT_EQ(got.skipped, want.skipped);
    EXPECT_EQ(got.faults, want.faults);
    EXPECT_EQ(got.unused, want.unused);
    EXPECT_EQ(got.straddling, want.straddling);
    EXPECT_EQ(got.dropped_reasoning, want.dropped_reasoning);
    EXPECT_EQ(got.cut_texts, want.cut_texts);
    EXPECT_EQ(got.pieces, want.pieces);
    EXPECT_EQ(got.special_texts, want.special_texts);
    EXPECT_EQ(got.first_special_text, want.first_special_text);
    EXPECT_EQ(got.shifted_labels, want.shifted_labels);
    EXPECT_EQ(got.first_shifted, want.first_shifted);
  }
  std::vector<std::string> TokenFiles() const {
    std::vector<std::string> out;
    for (const auto& entry : fs::directory_iterator(cache_.folder)) {
      if (entry.path().extension() == ".tokens") out.push_back(entry.path().string());
    }
    return out;
  }
  // Of what a builder leaves, files whose names end so.
  int CountOthers(const std::string& end = "") const {
    int count = 0;
    for (const auto& entry : fs::directory_iterator(cache_.folder)) {
      const std::string name = entry.path().filename().string();
      count += entry.is_regular_file() && name.ends_with(end) && !name.ends_with(".tokens");
    }
    return count;
  }

  TokenCache cache_;
  std::vector<std::string> said_;
};

TEST_F(TokenCacheTest, GivesTheExamplesAndTheReportThatReadingGives) {
  const DatasetSpec talks{folder_.Write("talks.jsonl", Lines(300)), kMessages};
  ExpectSame(talks, true);
  ExpectSame(talks, false);
  const DatasetSpec array{
      folder_.Write("a.json", R"([{"text": "one <|im_end|>"}, {"text": "two"}])"), kText};
  ExpectSame(array, true);
  ExpectSame(array, false);
  options_.sequence_len = 8;
  std::string long_text;
  for (int i = 0; i < 100; ++i) absl::StrAppend(&long_text, "word", i, " ");
  ExpectSame({folder_.Write("t.jsonl", R"({"text": ")" + long_text + "\"}\n"), kText}, true);
  // Labels that are neither their tokens nor masked.
  const DatasetSpec tokens{
      folder_.Write("k.jsonl", R"({"input_ids": [1, 2, 3, 0], "labels": [1, -100, 7, 0]})"
                               "\n"
                               R"({"input_ids": [4, 5]})"),
      kTokens};
  ExpectSame(tokens, true);
  ExpectSame(tokens, false);
  options_.on_bad_row = OnBadRow::kSkip;
  ExpectSame({folder_.Write("b.jsonl", Lines(3) + "no JSON\n" + Lines(2)), kMessages}, true);
  EXPECT_EQ(CountOthers(), 0);
}

TEST_F(TokenCacheTest, AStreamOfKeptTokensIsTheStreamOfRows) {
  const DatasetSpec spec{folder_.Write("talks.jsonl", Lines(200)), kMessages};
  const auto read = LoadDataset(spec, options_);
  const auto kept = Get(spec);
  ASSERT_TRUE(read.ok() && kept.ok()) << kept.status();
  for (const RowOptions& rows :
       {RowOptions{.sequence_len = 64, .seed = 1},
        {.sequence_len = 30, .packing = false},
        {.sequence_len = 64, .packing = true, .seed = 2, .fit = RowFit::kBest}}) {
    auto a = RowStream::Create(read->examples, rows), b = RowStream::Create(kept->examples, rows);
    ASSERT_TRUE(a.ok() && b.ok()) << a.status() << b.status();
    for (int64_t step = 0; step < 50; ++step) {
      const StepShape shape{.micro_batch_size = 2};
      const Microbatch want = a->TrainMicrobatch(step, shape, 0, 0),
                       got = b->TrainMicrobatch(step, shape, 0, 0);
      EXPECT_EQ(got.input_ids, want.input_ids);
      EXPECT_EQ(got.targets, want.targets);
      EXPECT_EQ(got.cu_seqlens, want.cu_seqlens);
      EXPECT_EQ(got.token_index, want.token_index);
    }
  }
}

TEST_F(TokenCacheTest, WhatDecidesTokensIsInTheKeyAndThePathIsNot) {
  DatasetSpec spec{folder_.Write("talks.jsonl", Lines(20)), kMessages};
  ExpectSame(spec, true);
  fs::rename(spec.path, folder_ / "moved.jsonl");
  spec.path = folder_ / "moved.jsonl";
  ExpectSame(spec, false);
  options_.train_on = TrainOn::kPrompt;
  ExpectSame(spec, true);
  options_.train_on = TrainOn::kAll;
  options_.turns = Turns::kEach;
  ExpectSame(spec, true);
  options_.turns = Turns::kWhole;
  options_.vocab_size += 1;
  ExpectSame(spec, true);
  options_.vocab_size -= 1;
  cache_.texts = "another tokenizer";
  ExpectSame(spec, true);
  folder_.Write("moved.jsonl", Lines(20, /*seed=*/1));  // as many bytes
  ExpectSame(spec, true);
  EXPECT_EQ(TokenFiles().size(), 6u);
}

TEST_F(TokenCacheTest, BadRowsAreTheErrorThatReadingGives) {
  const DatasetSpec spec{folder_.Write("b.jsonl", Lines(3) + "no JSON\n"), kMessages};
  EXPECT_EQ(ErrorText(Get(spec)), ErrorText(LoadDataset(spec, options_)));
  EXPECT_THAT(TokenFiles(), ElementsAre());
  EXPECT_EQ(CountOthers(), 0);
}

// Whatever byte is another: the file is made anew, or the example that has it is refused.
TEST_F(TokenCacheTest, ADamagedFileIsMadeAnewOrRefused) {
  const DatasetSpec spec{folder_.Write("talks.jsonl", Lines(6)), kMessages};
  const auto want = LoadDataset(spec, options_);
  ASSERT_TRUE(Get(spec).ok());
  const std::string path = TokenFiles().at(0);
  const auto size = static_cast<int64_t>(fs::file_size(path));
  int made = 0, refused = 0;
  for (int64_t at = 0; at < size; at += 5) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(at);
    const char before = static_cast<char>(file.get());
    file.seekp(at);
    file.put(static_cast<char>(before ^ 0x10));
    file.close();
    const auto got = Get(spec);
    ASSERT_TRUE(got.ok()) << at << ": " << got.status();
    made += said_.size() == 2;  // damaged, made
    try {
      for (size_t i = 0; i < want->examples.size(); ++i) {
        EXPECT_EQ(got->examples[i].input_ids, want->examples[i].input_ids) << at;
        EXPECT_EQ(got->examples[i].labels, want->examples[i].labels) << at;
      }
    } catch (const std::runtime_error& error) {
      ++refused;
      EXPECT_THAT(error.what(), HasSubstr("are damaged: remove this file, it is made again"));
      fs::remove(path);
      ASSERT_TRUE(Get(spec).ok());
    }
  }
  EXPECT_GT(made, 20);
  EXPECT_GT(refused, 20);
  for (const int64_t left : {int64_t{0}, int64_t{7}, size / 2, size - 1}) {
    fs::resize_file(path, static_cast<uintmax_t>(left));
    const auto got = Get(spec);
    ASSERT_TRUE(got.ok()) << left << ": " << got.status();
    EXPECT_EQ(got->examples.Digest(0, 6), ExampleList(want->examples).Digest(0, 6));
    EXPECT_EQ(got->examples[5].input_ids, want->examples[5].input_ids);
  }
}

TEST_F(TokenCacheTest, ManyBuildersAndKillsLeaveAWholeFile) {
  const DatasetSpec spec{folder_.Write("talks.jsonl", Lines(4000)), kMessages};
  const auto want = LoadDataset(spec, options_);
  ASSERT_TRUE(want.ok());
  cache_.say = nullptr;
  for (int trial = 0; trial < 12; ++trial) {
    for (const std::string& path :
         fs::exists(cache_.folder) ? TokenFiles() : std::vector<std::string>()) {
      if (trial % 3 == 0) fs::remove(path);
    }
    std::vector<pid_t> builders;
    for (int b = 0; b < 3; ++b) {
      const pid_t child = fork();
      if (child == 0) _exit(LoadCached(spec, options_, cache_).ok() ? 0 : 1);
      builders.push_back(child);
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(trial * 15));
    kill(builders[0], SIGKILL);
    for (size_t b = 0; b < builders.size(); ++b) {
      int status = 0;
      waitpid(builders[b], &status, 0);
      if (b > 0) {
        EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << trial;
      }
    }
    const auto got = LoadCached(spec, options_, cache_);
    ASSERT_TRUE(got.ok()) << got.status();
    ASSERT_EQ(got->examples.size(), want->examples.size());
    EXPECT_EQ(got->examples.Digest(0, 4000), ExampleList(want->examples).Digest(0, 4000));
    EXPECT_EQ(got->examples[3999].input_ids, want->examples[3999].input_ids);
  }
  EXPECT_EQ(CountOthers(".part"), 0);
}

TEST_F(TokenCacheTest, AFullDiskAndAFolderThatCannotBeWrittenAreSaid) {
  const DatasetSpec spec{folder_.Write("talks.jsonl", Lines(2000)), kMessages};
  cache_.folder = folder_.Write("file", "") + "/cache";
  EXPECT_THAT(ErrorText(Get(spec)), HasSubstr("data.cache_dir names another folder, or is none"));
  cache_.folder = folder_ / "cache";
  const pid_t child = fork();
  if (child == 0) {
    signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{20000, 20000};
    setrlimit(RLIMIT_FSIZE, &limit);
    const absl::Status status = LoadCached(spec, options_, cache_).status();
    const bool said = absl::IsResourceExhausted(status) &&
                      absl::StrContains(status.message(), "data.cache_dir names another folder");
    _exit(said ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_EQ(CountOthers(), 0) << "what was written is gone";
  ExpectSame(spec, true);
}

TEST_F(TokenCacheTest, DigestsOfFilesAreRememberedWhileNothingHappensToThem) {
  const std::string path = folder_.Write("a", std::string(40 << 20, 'x'));
  fs::create_directories(folder_ / "digests");
  const auto remembered = [&] {
    int count = 0;
    for (const auto& entry : fs::directory_iterator(folder_ / "digests")) count += entry.exists();
    return count;
  };
  const std::string digest = DigestOfFile(path, 2).value();
  EXPECT_EQ(DigestOfFile(path, 1).value(), digest);
  EXPECT_EQ(RememberedDigest(path, folder_.path(), 2).value(), digest);
  EXPECT_EQ(remembered(), 0) << "it may change within the clock's tick";
  std::this_thread::sleep_for(std::chrono::milliseconds(2200));
  EXPECT_EQ(RememberedDigest(path, folder_.path(), 2).value(), digest);
  EXPECT_EQ(remembered(), 1);
  EXPECT_EQ(RememberedDigest(path, folder_.path(), 2).value(), digest);
  std::fstream(path, std::ios::in | std::ios::out) << "y";
  EXPECT_NE(RememberedDigest(path, folder_.path(), 2).value(), digest);
}

}  // namespace
}  // namespace fttrain
