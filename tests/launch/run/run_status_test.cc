// run_status.json and errors/rank-R.json, to the byte; who writes them; text from outside in them.
#include "launch/run/run_status.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>

#include "launch/exit_code.h"
#include "runtime/files/whole_file.h"
#include "runtime/process/last_words.h"
#include "runtime/process/status_payload.h"
#include "tests/temp_folder.h"

namespace fttrain {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;
using Json = nlohmann::json;

constexpr std::time_t kMorning = 1790000000;  // 2026-09-21, 14:13:20 UTC

Json ReadJson(const std::string& path) {
  const auto text = ReadFile(path);
  EXPECT_TRUE(text.ok()) << text.status();
  return Json::parse(text.value_or("{}"));
}
Json StatusIn(const TempFolder& folder) { return ReadJson(folder / "run_status.json"); }
Json RecordIn(const TempFolder& folder, int rank) {
  return ReadJson(folder / "errors/rank-" + std::to_string(rank) + ".json");
}

// One whose pid is not this process's, to see whose is written.
RunStatusFile FileOfRank(int rank, const TempFolder& folder) {
  return {folder.path(), Origin{rank, rank == 0 ? "a" : "b", 100 + rank}, 2, 30};
}

TEST(RunStatus, HasOneKeyALine) {
  RunStatus status;
  status.total_steps = 30;
  status.pid = 4711;
  status.host = "node3";
  status.started_at = kMorning;
  status.updated_at = kMorning + 61;
  status.ranks = 2;
  EXPECT_EQ(ToJson(status),
            "{\n"
            "  \"state\": \"running\",\n"
            "  \"exit_code\": null,\n"
            "  \"step\": 0,\n"
            "  \"total_steps\": 30,\n"
            "  \"checkpoint\": null,\n"
            "  \"stopped_by\": null,\n"
            "  \"error\": null,\n"
            "  \"pid\": 4711,\n"
            "  \"host\": \"node3\",\n"
            "  \"started_at\": \"2026-09-21T14:13:20Z\",\n"
            "  \"updated_at\": \"2026-09-21T14:14:21Z\",\n"
            "  \"ranks\": 2,\n"
            "  \"identity\": null\n"
            "}\n");
  status.state = "failed";
  status.exit_code = 80;
  status.step = 12;
  status.checkpoint = 10;
  status.error = "step 13: loss nan";
  const std::string text = ToJson(status);
  for (const char* line :
       {"  \"state\": \"failed\",\n", "  \"exit_code\": 80,\n", "  \"step\": 12,\n",
        "  \"checkpoint\": 10,\n", "  \"error\": \"step 13: loss nan\",\n"}) {
    EXPECT_THAT(text, HasSubstr(line));
  }
}

TEST(ErrorRecord, HasOneKeyALine) {
  EXPECT_EQ(ToJson(ErrorRecord{.exit_code = 81,
                               .rank = 3,
                               .host = "node3",
                               .pid = 4711,
                               .step = 12,
                               .message = "nothing has moved",
                               .time = kMorning}),
            "{\n"
            "  \"exit_code\": 81,\n"
            "  \"rank\": 3,\n"
            "  \"host\": \"node3\",\n"
            "  \"pid\": 4711,\n"
            "  \"step\": 12,\n"
            "  \"message\": \"nothing has moved\",\n"
            "  \"time\": \"2026-09-21T14:13:20Z\"\n"
            "}\n");
  EXPECT_THAT(ToJson(ErrorRecord{}), HasSubstr("  \"step\": null,\n"));
}

TEST(ErrorRecord, TextFromOutsideIsEscapedAndCut) {
  using namespace std::string_literals;
  ErrorRecord record = {.message = "\x1b[2Jrow\n\"exit_code\": 0,\n\0\xff\xc3"s};
  const std::string text = ToJson(record);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 9) << text;
  for (const char c : text) EXPECT_TRUE(c == '\n' || static_cast<unsigned char>(c) >= 0x20);
  const std::string message = Json::parse(text)["message"];
  EXPECT_THAT(message, testing::StartsWith("\\x1b[2Jrow\\n\"exit_code\": 0,\\n\\x00"));

  record.message = std::string(1'000'000, 'x');
  EXPECT_EQ(Json::parse(ToJson(record))["message"].get<std::string>(),
            std::string(1997, 'x') + "...");
  RunStatus status;
  status.error = status.host = status.stopped_by = std::string(1'000'000, '\n');
  EXPECT_LE(ToJson(status).size(), 12000u);
}

TEST(RunStatusFile, FollowsARunFromItsBeginningToItsEnd) {
  const TempFolder folder;
  fs::create_directory(folder / "errors");
  folder.Write("errors/rank-7.json", "of an earlier run");
  {
    RunStatusFile status = FileOfRank(0, folder);
    EXPECT_EQ(folder.FileCount(), 1u) << "nothing before Begin()";
    ASSERT_TRUE(status.Begin(5, 5).ok());
    EXPECT_FALSE(fs::exists(folder / "errors"));
    Json json = StatusIn(folder);
    EXPECT_EQ(json["state"], "running");
    EXPECT_EQ(json["step"], 5);
    EXPECT_EQ(json["checkpoint"], 5);
    EXPECT_EQ(json["pid"], 100);
    EXPECT_EQ(json["host"], "a");
    EXPECT_EQ(json["ranks"], 2);
    status.SetStep(10);
    ASSERT_TRUE(status.Committed(10).ok());
    EXPECT_EQ(StatusIn(folder)["checkpoint"], 10);
    EXPECT_EQ(StatusIn(folder)["step"], 10);
    status.SetStep(30);
    status.End(absl::OkStatus());
    json = StatusIn(folder);
    EXPECT_EQ(json["state"], "done");
    EXPECT_EQ(json["exit_code"], 0);
    EXPECT_EQ(json["step"], 30);
    EXPECT_TRUE(json["error"].is_null());
    EXPECT_EQ(folder.FileCount(), 1u);
  }
}

TEST(RunStatusFile, SaysOfAPreemptedRunWhoStoppedIt) {
  const TempFolder folder;
  {
    RunStatusFile status = FileOfRank(0, folder);
    ASSERT_TRUE(status.Begin().ok());
    status.SetStoppedBy("SIGUSR1");
    status.End(WithExitCode(absl::CancelledError("stopped"), kExitPreempted));
  }
  const Json json = StatusIn(folder);
  EXPECT_EQ(json["state"], "preempted");
  EXPECT_EQ(json["exit_code"], 75);
  EXPECT_EQ(json["stopped_by"], "SIGUSR1");
  EXPECT_TRUE(json["error"].is_null());
  EXPECT_FALSE(fs::exists(folder / "errors"));
}

TEST(RunStatusFile, KeepsTheErrorOfTheRankThatFailed) {
  const TempFolder folder;
  setenv("FTTRAIN_TEST_SECRET", "s3cret", 1);
  {
    RunStatusFile status = FileOfRank(0, folder);
    ASSERT_TRUE(status.Begin().ok());
    status.SetStep(12);
    status.End(WithOrigin(WithExitCode(absl::InternalError("rank 3 on host b: \x1b[31mred"), 83),
                          {3, "b", 99}));
  }
  EXPECT_EQ(StatusIn(folder)["state"], "failed");
  EXPECT_EQ(StatusIn(folder)["exit_code"], 83);
  EXPECT_EQ(StatusIn(folder)["error"], "rank 3 on host b: \\x1b[31mred");
  const Json record = RecordIn(folder, 3);
  EXPECT_EQ(record["exit_code"], 83);
  EXPECT_EQ(record["rank"], 3);
  EXPECT_EQ(record["host"], "b");
  EXPECT_EQ(record["pid"], 99);
  EXPECT_EQ(record["step"], 12);
  EXPECT_EQ(record["message"], "rank 3 on host b: \\x1b[31mred");
  EXPECT_THAT(*ReadFile(folder / "errors/rank-3.json"), Not(HasSubstr("s3cret")));
  unsetenv("FTTRAIN_TEST_SECRET");
}

TEST(RunStatusFile, ARankThatMustEndAtOnceLeavesItsRecordAndTheRunsEnd) {
  for (const int rank : {0, 1}) {
    const TempFolder folder;
    RunStatusFile first = FileOfRank(0, folder), status = FileOfRank(rank, folder);
    ASSERT_TRUE(first.Begin(5, 5).ok());
    ASSERT_TRUE(status.Begin(5, 5).ok());
    status.SetStep(7);
    SayLastWords(kExitHang, "step 8:\nnothing has moved");
    const Json record = RecordIn(folder, rank);
    EXPECT_EQ(record["exit_code"], 81);
    EXPECT_EQ(record["rank"], rank);
    EXPECT_EQ(record["pid"], 100 + rank);
    EXPECT_EQ(record["message"], "step 8:\\nnothing has moved");
    EXPECT_EQ(record["step"], 7);
    const Json json = StatusIn(folder);
    EXPECT_EQ(json["state"], "failed");
    EXPECT_EQ(json["exit_code"], 81);
    EXPECT_EQ(json["step"], 7);
    EXPECT_EQ(json["checkpoint"], 5);
    EXPECT_EQ(json["pid"], 100) << "of rank 0";
    EXPECT_EQ(json["error"], "rank " + std::to_string(rank) + ": step 8:\\nnothing has moved");
    EXPECT_THAT(*ReadFile(folder / "run_status.json"),
                HasSubstr("{\n  \"state\": \"failed\",\n  \"exit_code\": 81,\n"));
  }
}

TEST(RunStatusFile, TheFirstErrorIsTheRuns) {
  const TempFolder folder;
  RunStatusFile first = FileOfRank(0, folder), second = FileOfRank(1, folder);
  ASSERT_TRUE(first.Begin().ok());
  SayLastWords(kExitInternal, "the cause");
  ASSERT_TRUE(second.Begin().ok());
  SayLastWords(kExitHang, "what followed");
  EXPECT_EQ(StatusIn(folder)["error"], "rank 0: the cause");
  EXPECT_EQ(RecordIn(folder, 1)["message"], "what followed");
}

TEST(RunStatusFile, OnlyRankZeroWritesAndNobodyOnceItIsGone) {
  const TempFolder folder;
  {
    RunStatusFile status = FileOfRank(1, folder);
    ASSERT_TRUE(status.Begin().ok());
    ASSERT_TRUE(status.Committed(5).ok());
    status.End(absl::InternalError("x"));
    SayLastWords(kExitHang, "after the end");
  }
  {
    RunStatusFile status = FileOfRank(1, folder);
    ASSERT_TRUE(status.Begin().ok());
  }
  SayLastWords(kExitHang, "after its life");
  EXPECT_EQ(folder.FileCount(), 0u);
}

TEST(RunStatusFile, WhereNothingCanBeWrittenSaysSo) {
  RunStatusFile status("/nowhere/at/all", Origin{}, 1, 30);
  EXPECT_THAT(status.Begin().message(), HasSubstr("/nowhere/at/all/run_status.json"));
  testing::internal::CaptureStderr();
  status.End(absl::InternalError("x"));
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("/nowhere/at/all/errors"));
}

}  // namespace
}  // namespace fttrain
