#include "launch/run/output_folder.h"

#include <gmock/gmock.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "launch/exit_code.h"
#include "runtime/files/whole_file.h"
#include "tests/status_text.h"
#include "tests/temp_folder.h"

namespace fttrain {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;

std::unique_ptr<OutputFolder> MustOpen(const std::string& folder,
                                       const FolderCalls& system = SystemsOwn()) {
  auto opened = OutputFolder::Open(folder, system);
  EXPECT_TRUE(opened.ok()) << opened.status();
  return *std::move(opened);
}

// What a run leaves, with `text` in the adapter's file.
void LeaveResult(const std::string& folder, const std::string& text) {
  fs::create_directory(folder + "/adapter");
  ASSERT_TRUE(WriteFileAtomically(folder + "/adapter/x", text).ok());
  ASSERT_TRUE(WriteFileAtomically(folder + "/metrics.jsonl", text).ok());
}

TEST(OutputFolder, IsCreatedWithItsParentsAndEmptyAfterwards) {
  const TempFolder parent;
  const std::string folder = parent / "a/b";
  EXPECT_EQ(MustOpen(folder)->KeepEarlierResults().value(), "");
  EXPECT_TRUE(fs::is_directory(folder));
  EXPECT_TRUE(fs::is_empty(folder));
}

TEST(OutputFolder, AnEarlierRunIsKeptFromWhenTrainingBegins) {
  const TempFolder parent;
  const std::string folder = parent / "out";
  for (int run = 1; run <= 2; ++run) {
    const auto output = MustOpen(folder);
    EXPECT_EQ(output->KeepEarlierResults().value(), run == 1 ? "" : folder + "/previous-1");
    LeaveResult(folder, std::to_string(run));
  }
  { const auto fails_before_its_first_step = MustOpen(folder); }
  EXPECT_EQ(*ReadFile(folder + "/adapter/x"), "2");
  EXPECT_FALSE(fs::exists(folder + "/previous-2"));
  ASSERT_TRUE(MustOpen(folder)->KeepEarlierResults().ok());
  EXPECT_EQ(*ReadFile(folder + "/previous-1/adapter/x"), "1");
  EXPECT_EQ(*ReadFile(folder + "/previous-2/adapter/x"), "2");
  EXPECT_EQ(*ReadFile(folder + "/previous-2/metrics.jsonl"), "2");
  EXPECT_FALSE(fs::exists(folder + "/adapter"));
}

TEST(OutputFolder, AFileInItsPlaceIsAnErrorThatNamesIt) {
  const TempFolder parent;
  const std::string folder = parent / "out";
  ASSERT_TRUE(WriteFileAtomically(folder, "x").ok());
  EXPECT_THAT(ErrorText(OutputFolder::Open(folder)), HasSubstr(folder));
}

TEST(OutputFolder, IsOneRunsAtATime) {
  const TempFolder parent;
  const std::string folder = parent / "out";
  auto first = MustOpen(folder);
  const auto second = OutputFolder::Open(folder);
  EXPECT_THAT(second, IsError(absl::StatusCode::kUnavailable,
                              "output_dir " + folder + ": another run writes there (process " +
                                  std::to_string(getpid()) + " on host "));
  EXPECT_EQ(ExitCode(second.status()), kExitCannotCreate);
  EXPECT_TRUE(OutputFolder::Open(parent / "other").ok());
  first.reset();
  EXPECT_TRUE(OutputFolder::Open(folder).ok());
}

TEST(OutputFolder, ALockWhoseProcessIsGoneHoldsNobodyUp) {
  const TempFolder parent;
  const std::string folder = parent / "out";
  const pid_t child = fork();
  if (child == 0) {
    const auto taken = OutputFolder::Open(folder);
    kill(getpid(), SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_TRUE(fs::exists(folder + "/.lock"));
  EXPECT_TRUE(OutputFolder::Open(folder).ok());
}

TEST(OutputFolder, WithoutRoomForTheResultIsRefusedWithBothNumbers) {
  const TempFolder parent;
  const std::string folder = parent / "out";
  std::optional<int64_t> free = 1000;
  FolderCalls system = SystemsOwn();
  system.free_bytes = [&](const std::string& asked) {
    EXPECT_EQ(asked, folder);
    return free;
  };
  const auto output = MustOpen(folder, system);
  EXPECT_TRUE(output->CheckRoom(1000).ok());
  EXPECT_THAT(output->CheckRoom(1024), IsError(absl::StatusCode::kResourceExhausted,
                                               "output_dir " + folder +
                                                   ": the run's result takes about 1024 bytes, and "
                                                   "1000 are free there; free 24 more"));
  free.reset();
  EXPECT_TRUE(output->CheckRoom(int64_t{1} << 60).ok()) << "the file system does not say";
  EXPECT_GT(SystemsOwn().free_bytes(folder), 0);
}

// What an overlay says of a folder of a lower layer.
FolderCalls WhereFoldersCannotBeRenamed() {
  FolderCalls system = SystemsOwn();
  system.rename = [](const fs::path& from, const fs::path& to) {
    if (fs::is_directory(from)) return std::make_error_code(std::errc::cross_device_link);
    return SystemsOwn().rename(from, to);
  };
  return system;
}

TEST(OutputFolder, AResultThatCannotBeRenamedIsCopied) {
  const TempFolder parent;
  const std::string folder = parent / "out";
  const auto output = MustOpen(folder, WhereFoldersCannotBeRenamed());
  LeaveResult(folder, "good");
  fs::create_directory(folder + "/adapter/below");
  fs::create_symlink("x", folder + "/adapter/link");
  EXPECT_EQ(output->KeepEarlierResults().value(), folder + "/previous-1");
  EXPECT_EQ(*ReadFile(folder + "/previous-1/adapter/x"), "good");
  EXPECT_EQ(*ReadFile(folder + "/previous-1/metrics.jsonl"), "good");
  EXPECT_TRUE(fs::is_directory(folder + "/previous-1/adapter/below"));
  EXPECT_EQ(fs::read_symlink(folder + "/previous-1/adapter/link"), "x");
  EXPECT_FALSE(fs::exists(folder + "/previous-1/adapter.part"));
  EXPECT_FALSE(fs::exists(folder + "/adapter"));
}

TEST(OutputFolder, AResultThatCannotBeMovedLeavesAllInPlace) {
  const TempFolder parent;
  const std::string folder = parent / "out";
  FolderCalls system = SystemsOwn();
  system.rename = [](const fs::path& from, const fs::path& to) {
    if (from.filename() == "adapter")
      return std::make_error_code(std::errc::device_or_resource_busy);
    return SystemsOwn().rename(from, to);
  };
  const auto output = MustOpen(folder, system);
  LeaveResult(folder, "good");
  EXPECT_THAT(output->KeepEarlierResults(),
              IsError(absl::StatusCode::kUnavailable, folder + "/previous-1: cannot write there"));
  EXPECT_EQ(*ReadFile(folder + "/adapter/x"), "good");
  EXPECT_EQ(*ReadFile(folder + "/metrics.jsonl"), "good");
  EXPECT_FALSE(fs::exists(folder + "/previous-1"));
}

TEST(OutputFolder, WhatTheRunReadsIsNotMovedAway) {
  const TempFolder parent;
  const std::string folder = parent / "out";
  fs::create_directories(folder + "/adapter");
  const absl::Status refused =
      CheckIsNotMoved("adapter.init_from", folder + "/./adapter/", folder + "/");
  EXPECT_THAT(refused, IsError(absl::StatusCode::kInvalidArgument, "choose another output_dir"));
  EXPECT_TRUE(CheckIsNotMoved("adapter.init_from", folder + "/previous-1/adapter", folder).ok());
  EXPECT_TRUE(CheckIsNotMoved("model.path", "models/adapter", folder).ok());
}

}  // namespace
}  // namespace fttrain
