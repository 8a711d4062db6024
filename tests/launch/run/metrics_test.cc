#include "launch/run/metrics.h"

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/resource.h>

#include <cmath>

#include "nlohmann/json.hpp"
#include "runtime/files/whole_file.h"
#include "tests/status_text.h"
#include "tests/temp_folder.h"

namespace fttrain {
namespace {

StepMetrics Sample() {
  StepMetrics m;
  m.step = 12;
  m.loss = 1.23456789012345678;
  m.grad_norm = 0.5;
  m.learning_rate = 1e-3;
  m.tokens = 1000;
  m.target_tokens = 400;
  m.seconds = 0.25;
  m.peak_bytes = int64_t{3} << 29;
  return m;
}

TEST(Metrics, JsonLineHoldsEveryFieldToFullPrecision) {
  EXPECT_EQ(nlohmann::json::parse(ToJsonLine(Sample())), nlohmann::json::parse(R"({
    "step": 12, "loss": 1.23456789012345678, "grad_norm": 0.5, "learning_rate": 1e-3,
    "tokens": 1000, "target_tokens": 400, "seconds": 0.25, "tokens_per_second": 4000.0,
    "peak_bytes": 1610612736})"));
}

TEST(Metrics, JsonLineHasWhatAGpusAllocatorHoldsWhereThereIsOne) {
  StepMetrics metrics = Sample();
  metrics.reserved_bytes = int64_t{5} << 29;
  EXPECT_EQ(nlohmann::json::parse(ToJsonLine(metrics))["reserved_bytes"], 2684354560);
  EXPECT_FALSE(nlohmann::json::parse(ToJsonLine(Sample())).contains("reserved_bytes"));
}

TEST(Metrics, ReadableLineHasLossNormRateSpeedMemoryAndEta) {
  EXPECT_EQ(
      ToReadableLine(Sample(), 30, 75.4),
      "step 12/30  loss 1.2346  grad_norm 0.500  lr 1.00e-03  4000 tok/s  mem 1.50 GiB  eta 1:15");
}

TEST(Metrics, HaveTheRoutersLossBesideThatOfTokensWhereThereIsOne) {
  StepMetrics metrics = Sample();
  metrics.router_loss = 2.125;
  const auto json = nlohmann::json::parse(ToJsonLine(metrics));
  EXPECT_EQ(json["router_loss"], 2.125);
  EXPECT_EQ(json["loss"], Sample().loss);
  EXPECT_FALSE(nlohmann::json::parse(ToJsonLine(Sample())).contains("router_loss"));
  EXPECT_THAT(ToReadableLine(metrics, 30, 75.4),
              testing::StartsWith("step 12/30  loss 1.2346  router 2.1250  grad_norm 0.500  "));
}

TEST(MetricsFile, HasOneLinePerStepAtOnce) {
  const std::string path = ::testing::TempDir() + "/metrics.jsonl";
  auto file = MetricsFile::Create(path).value();
  ASSERT_TRUE(file->Append(Sample()).ok());
  ASSERT_TRUE(file->Append(Sample()).ok());
  EXPECT_EQ(*ReadFile(path), ToJsonLine(Sample()) + "\n" + ToJsonLine(Sample()) + "\n");
}

TEST(MetricsFile, KeepsLinesInMemoryWhileTheDiskIsFull) {
  auto file = MetricsFile::Create("/dev/full").value();
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(file->Append(Sample()).ok());
  EXPECT_THAT(file->Flush(),
              IsError(absl::StatusCode::kResourceExhausted, "/dev/full: cannot write"));
}

TEST(MetricsFile, TakesBackALineForWhichThereIsRoomInPart) {
  const TempFolder folder;
  const std::string path = folder / "metrics.jsonl", line = ToJsonLine(Sample()) + "\n";
  auto file = MetricsFile::Create(path).value();
  struct rlimit before;
  getrlimit(RLIMIT_FSIZE, &before);
  const struct rlimit small = {line.size() * 2 - 5, before.rlim_max};
  signal(SIGXFSZ, SIG_IGN);
  setrlimit(RLIMIT_FSIZE, &small);
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(file->Append(Sample()).ok());
  setrlimit(RLIMIT_FSIZE, &before);
  EXPECT_EQ(ReadFile(path).value(), line);
  ASSERT_TRUE(file->Flush().ok());
  EXPECT_EQ(ReadFile(path).value(), line + line + line);
}

TEST(MetricsFile, OfARunThatGoesOnKeepsTheStepsBeforeAndNoTornLine) {
  const TempFolder folder;
  const std::string path = folder.Write("metrics.jsonl",
                                        "{\"step\": 1, \"loss\": 2.5}\n"
                                        "not a line\n"
                                        "{\"step\": 2, \"loss\": 2.25}\n"
                                        "{\"step\": 3, \"loss\": 2}\n"
                                        "{\"step\": 4, \"lo");
  {
    StepMetrics next = Sample();
    next.step = 3;
    ASSERT_TRUE(MetricsFile::Create(path, 2).value()->Append(next).ok());
  }
  EXPECT_EQ(
      ReadFile(path).value(),
      "{\"step\": 1, \"loss\": 2.5}\n"
      "{\"step\": 2, \"loss\": 2.25}\n" +
          [] {
            StepMetrics next = Sample();
            next.step = 3;
            return ToJsonLine(next);
          }() +
          "\n");
  ASSERT_TRUE(MetricsFile::Create(path).ok());
  EXPECT_EQ(ReadFile(path).value(), "");
}

TEST(Metrics, JsonLineSaysWhyAStepWasPassedOver) {
  StepMetrics metrics = Sample();
  metrics.skipped = "not finite";
  metrics.loss = std::nan("");
  const auto json = nlohmann::json::parse(ToJsonLine(metrics));
  EXPECT_EQ(json["skipped"], "not finite");
  EXPECT_TRUE(json["loss"].is_null());
}

}  // namespace
}  // namespace fttrain
