#include "launch/run/event_file.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "launch/run/metrics.h"
#include "runtime/files/whole_file.h"
#include "tests/temp_folder.h"

namespace fttrain {
namespace {

// RFC 3720, appendix B.4.
TEST(Crc32c, IsCastagnolis) {
  EXPECT_EQ(Crc32c(std::string(32, '\0')), 0x8a9136aau);
  EXPECT_EQ(Crc32c(std::string(32, '\xff')), 0x62a8ab43u);
  std::string ascending;
  for (int i = 0; i < 32; ++i) ascending.push_back(static_cast<char>(i));
  EXPECT_EQ(Crc32c(ascending), 0x46dd794eu);
  EXPECT_EQ(Crc32c("123456789"), 0xe3069283u);
}

TEST(RecordOf, HasLengthChecksumDataAndChecksum) {
  const std::string record = RecordOf("abc");
  ASSERT_EQ(record.size(), 8 + 4 + 3 + 4u);
  EXPECT_EQ(record.substr(0, 8), std::string("\3\0\0\0\0\0\0\0", 8));
  EXPECT_EQ(record.substr(12, 3), "abc");
}

// That TensorBoard reads them is eval_test.py's.
TEST(EventFile, HoldsEveryTagOfAStepAndAnEvaluation) {
  const TempFolder folder;
  {
    auto file = EventFile::Create(folder.path() + "/tb", 0);
    ASSERT_TRUE(file.ok()) << file.status();
    StepMetrics metrics;
    metrics.step = 1;
    EXPECT_TRUE((*file)->OnStep(metrics).ok());
    EXPECT_TRUE((*file)->OnEvaluation(1, HeldOutLoss{.loss = 2}, true).ok());
  }
  std::string text;
  for (const auto& entry : std::filesystem::directory_iterator(folder.path() + "/tb")) {
    text += *ReadFile(entry.path().string());
  }
  for (const char* part : {"brain.Event:2", "train/loss", "train/grad_norm", "train/learning_rate",
                           "eval/loss", "eval/perplexity"}) {
    EXPECT_NE(text.find(part), std::string::npos) << part;
  }
}

TEST(EventFile, CannotBeMadeWhereAFileIs) {
  const TempFolder folder;
  folder.Write("tb", "");
  EXPECT_FALSE(EventFile::Create(folder.path() + "/tb", 0).ok());
}

}  // namespace
}  // namespace fttrain
