#include "launch/check/report.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "launch/check/trial.h"

namespace fttrain {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

CheckReport Passed() {
  CheckReport report;
  report.stages = {{"data", 0.25, true, "32 rows"}, {"train", 1.5, true, "loss 2.5"}};
  report.peaks = {{0, 1000, 1000, true}, {1, 2000, 2000, true}};
  report.memory_bytes = int64_t{1} << 30;
  report.tokens_per_second = 100;
  report.steps = 60;
  report.run_tokens = 60'000;
  return report;
}

TEST(CheckReport, IsALineAStage) {
  EXPECT_EQ(
      CheckText(Passed()),
      "stage        seconds  ok\n"
      "data            0.25  yes   32 rows\n"
      "train           1.50  yes   loss 2.5\n"
      "in all          1.75  yes\n"
      "memory     peak 2,000 bytes on rank 1, as planned, and so on every rank; 1.00 GiB free\n"
      "speed      100 tokens a second; the whole run, 60 steps or so, takes about 10 min");
}

TEST(CheckReport, TellsAStageThatFailedAndLeavesTheReasonToTheError) {
  CheckReport report = Passed();
  report.stages.push_back({"export", 1, false, "logits differ"});
  EXPECT_THAT(CheckText(report), HasSubstr("export          1.00  NO\nin all          2.75  NO"));
  EXPECT_THAT(CheckText(report), Not(HasSubstr("logits differ")));
  const auto json = nlohmann::json::parse(CheckJson(report));
  EXPECT_FALSE(json["passed"].get<bool>());
  EXPECT_EQ(json["stages"][2]["text"], "logits differ");
}

TEST(CheckReport, TellsMemoryThatIsNotAsPlanned) {
  CheckReport report = Passed();
  report.peaks[1] = {1, 1999, 2000, false};
  EXPECT_THAT(CheckText(report), HasSubstr("peak 2,000 bytes on rank 1, planned 1,999; 1.00 GiB"));
  report.peaks[1].planned = -1;
  EXPECT_THAT(CheckText(report), HasSubstr("on rank 1, which could not be foretold"));
  EXPECT_FALSE(nlohmann::json::parse(CheckJson(report))["memory"]["ranks"][1].contains("planned"));
}

// A rehearsal takes the worst choice of experts.
TEST(IsAsPlanned, OfExpertsLessThanThePlanToo) {
  const c10::Device cpu(c10::kCPU), gpu(c10::kCUDA, 0);
  RankMemory planned;
  planned.device.held.total = 5000;
  planned.device.peak.total = 10'000;
  planned.host.peak.total = 300;
  EXPECT_TRUE(IsAsPlanned(planned, planned, cpu, /*experts=*/false));
  EXPECT_TRUE(IsAsPlanned(planned, planned, cpu, /*experts=*/true));
  RankMemory less = planned;
  less.device.peak.total = 7000;
  less.host.peak.total = 200;
  for (const c10::Device device : {cpu, gpu}) {
    EXPECT_FALSE(IsAsPlanned(planned, less, device, /*experts=*/false));
    EXPECT_TRUE(IsAsPlanned(planned, less, device, /*experts=*/true));
    EXPECT_FALSE(IsAsPlanned(less, planned, device, /*experts=*/true)) << "more is not";
  }
  RankMemory other = less;
  other.device.held.total = 4999;
  EXPECT_FALSE(IsAsPlanned(planned, other, cpu, /*experts=*/true));
  other = less;
  other.host.peak.total = 301;
  EXPECT_FALSE(IsAsPlanned(planned, other, cpu, /*experts=*/true));
  RankMemory rounded = planned;
  rounded.device.peak.total = 10'090;
  EXPECT_TRUE(IsAsPlanned(planned, rounded, gpu, /*experts=*/false));
  EXPECT_TRUE(IsAsPlanned(planned, rounded, gpu, /*experts=*/true));
  EXPECT_FALSE(IsAsPlanned(planned, rounded, cpu, /*experts=*/true));
}

TEST(CheckReport, IndentsTheLinesOfAWarning) {
  CheckReport report = Passed();
  report.warnings = {"one\n  two"};
  EXPECT_THAT(CheckText(report), HasSubstr("\nwarning    one\n             two"));
}

}  // namespace
}  // namespace fttrain
