// check.h, log.h, device.h.
#include <gmock/gmock.h>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "runtime/process/check.h"
#include "runtime/process/device.h"
#include "runtime/process/log.h"
#include "tests/status_text.h"

namespace fttrain {
namespace {

using ::testing::HasSubstr;

TEST(Check, APassingCheckDoesNotEvaluateItsMessage) {
  int evaluated = 0;
  FT_CHECK(1 + 1 == 2, "never ", ++evaluated);
  EXPECT_EQ(evaluated, 0);
}

TEST(CheckDeathTest, AFailingCheckPrintsItsPlaceConditionAndValuesAndAborts) {
  const int stage = 7;
  EXPECT_DEATH(FT_CHECK(stage < 4, "stage ", stage), "basics_test.cc:[0-9]+: stage < 4: stage 7");
}

absl::StatusOr<int> Half(int value) {
  if (value % 2 != 0) return absl::InvalidArgumentError("odd");
  return value / 2;
}
absl::StatusOr<int> Quarter(int value) {
  FT_ASSIGN_OR_RETURN(const int half, Half(value));
  FT_ASSIGN_OR_RETURN(const int quarter, Half(half));
  FT_RETURN_IF_ERROR(absl::OkStatus());
  return quarter;
}

TEST(StatusMacros, ReturnTheFirstErrorAndAssignOtherwise) {
  EXPECT_EQ(*Quarter(12), 3);
  EXPECT_EQ(Quarter(6).status(), absl::InvalidArgumentError("odd"));
}

TEST(Log, AnErrorIsOneLineThatNamesRankAndHost) {
  SetLogRank(1, 2, "node7");
  ::testing::internal::CaptureStderr();
  LogError("cannot read\na file");
  EXPECT_EQ(::testing::internal::GetCapturedStderr(),
            "fttrain: error: [rank 1/2 node7] cannot read\\na file\n");
  SetLogRank(0, 1, "node7");
  ::testing::internal::CaptureStderr();
  LogError("alone");
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "fttrain: error: alone\n");
}

TEST(Log, OnlyRankZeroSpeaks) {
  ::testing::internal::CaptureStdout();
  SetLogRank(1, 2, "node7");
  LogInfo("from rank 1");
  SetLogRank(0, 2, "node7");
  LogInfo("from rank 0");
  EXPECT_EQ(::testing::internal::GetCapturedStdout(), "from rank 0\n");
  SetLogRank(0, 1, "node7");
}

TEST(Printable, EscapesControlCharactersAndKeepsUtf8) {
  EXPECT_EQ(Printable("plain"), "plain");
  EXPECT_EQ(Printable("a\tb\r\n\x1b[31m\x7f"), "a\\tb\\r\\n\\x1b[31m\\x7f");
  EXPECT_EQ(Printable("größe"), "größe");
  EXPECT_EQ(Printable(std::string_view("\0x", 2)), "\\x00x");
}

TEST(Printable, EscapesBytesThatAreNoUtf8) {
  EXPECT_EQ(Printable("\xff"), "\\xff");
  EXPECT_EQ(Printable("a\xefz"), "a\\xefz");
  EXPECT_EQ(Printable("\xc3"), "\\xc3");
  EXPECT_EQ(Printable("\xc0\xaf\xed\xa0\x80"),
            "\\xc0\\xaf\\xed\\xa0\\x80");  // overlong, a surrogate
  EXPECT_EQ(Printable("\xf0\x9f\x91\x8b \xf4\x90\x80\x80"),
            "\xf0\x9f\x91\x8b \\xf4\\x90\\x80\\x80");
}

TEST(Printable, CutsLongTextAtTwoHundredBytesBetweenCharacters) {
  EXPECT_EQ(Printable(std::string(200, 'x')), std::string(200, 'x'));
  EXPECT_EQ(Printable(std::string(201, 'x')), absl::StrCat(std::string(197, 'x'), "..."));
  std::string umlauts;
  for (int i = 0; i < 150; ++i) umlauts += "ü";
  EXPECT_EQ(Printable(umlauts), absl::StrCat(umlauts.substr(0, 196), "..."));
  EXPECT_LE(Printable(std::string(300, '\0')).size(), 200u);
}

TEST(FreeMemoryBytes, OnACpuIsPartOfTheHosts) {
  const int64_t free_bytes = FreeMemoryBytes(c10::Device(c10::DeviceType::CPU));
  const int64_t host = int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGESIZE);
  EXPECT_GT(free_bytes, 0);
  EXPECT_LE(free_bytes, host);
}

TEST(SynchronizeDevice, ReturnsOnTheCpu) { SynchronizeDevice(c10::Device(c10::DeviceType::CPU)); }

}  // namespace
}  // namespace fttrain
