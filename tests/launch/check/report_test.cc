#include "launch/check/report.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

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

TEST(CheckReport, IndentsTheLinesOfAWarning) {
  CheckReport report = Passed();
  report.warnings = {"one\n  two"};
  EXPECT_THAT(CheckText(report), HasSubstr("\nwarning    one\n             two"));
}

}  // namespace
}  // namespace fttrain
