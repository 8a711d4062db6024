#include "launch/run/metrics.h"

#include <gmock/gmock.h>

#include "nlohmann/json.hpp"
#include "runtime/files/whole_file.h"

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
  const auto json = nlohmann::json::parse(ToJsonLine(Sample()));
  EXPECT_EQ(json["step"], 12);
  EXPECT_EQ(json["loss"].get<double>(), 1.23456789012345678);
  EXPECT_EQ(json["grad_norm"], 0.5);
  EXPECT_EQ(json["learning_rate"], 1e-3);
  EXPECT_EQ(json["tokens"], 1000);
  EXPECT_EQ(json["target_tokens"], 400);
  EXPECT_EQ(json["tokens_per_second"], 4000.0);
  EXPECT_EQ(json["peak_bytes"], int64_t{3} << 29);
}

TEST(Metrics, ReadableLineHasLossNormRateSpeedMemoryAndEta) {
  EXPECT_EQ(
      ToReadableLine(Sample(), 30, 75.4),
      "step 12/30  loss 1.2346  grad_norm 0.500  lr 1.00e-03  4000 tok/s  mem 1.50 GiB  eta 1:15");
}

TEST(MetricsFile, HasOneLinePerStepAtOnce) {
  const std::string path = ::testing::TempDir() + "/metrics.jsonl";
  auto file = MetricsFile::Create(path);
  ASSERT_TRUE(file.ok()) << file.status();
  ASSERT_TRUE((*file)->Append(Sample()).ok());
  ASSERT_TRUE((*file)->Append(Sample()).ok());
  EXPECT_EQ(*ReadFile(path), ToJsonLine(Sample()) + "\n" + ToJsonLine(Sample()) + "\n");
}

TEST(MetricsFile, AFullDiskIsAnError) {
  auto file = MetricsFile::Create("/dev/full");
  ASSERT_TRUE(file.ok()) << file.status();
  const absl::Status status = (*file)->Append(Sample());
  EXPECT_FALSE(status.ok());
  EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("/dev/full: cannot write"));
}

}  // namespace
}  // namespace fttrain
