#include "launch/run/output_folder.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "runtime/files/whole_file.h"
#include "tests/status_text.h"
#include "tests/temp_folder.h"

namespace fttrain {
namespace {

namespace fs = std::filesystem;

TEST(OutputFolder, IsCreatedWithItsParents) {
  const TempFolder parent;
  const std::string folder = parent / "a/b";
  const auto previous = PrepareOutputFolder(folder).value();
  EXPECT_EQ(previous, "");
  EXPECT_TRUE(fs::is_directory(folder));
  EXPECT_TRUE(fs::is_empty(folder));
}

TEST(OutputFolder, AnEarlierRunIsKept) {
  const TempFolder parent;
  const std::string folder = parent / "out";
  for (int run = 1; run <= 2; ++run) {
    const auto previous = PrepareOutputFolder(folder).value();
    EXPECT_EQ(previous, run == 1 ? "" : folder + "/previous-1");
    fs::create_directory(folder + "/adapter");
    ASSERT_TRUE(WriteFileAtomically(folder + "/adapter/x", std::to_string(run)).ok());
  }
  ASSERT_TRUE(PrepareOutputFolder(folder).ok());
  EXPECT_EQ(*ReadFile(folder + "/previous-1/adapter/x"), "1");
  EXPECT_EQ(*ReadFile(folder + "/previous-2/adapter/x"), "2");
  EXPECT_FALSE(fs::exists(folder + "/adapter"));
}

TEST(OutputFolder, AFileInItsPlaceIsAnErrorThatNamesIt) {
  const TempFolder parent;
  const std::string folder = parent / "out";
  ASSERT_TRUE(WriteFileAtomically(folder, "x").ok());
  const auto previous = PrepareOutputFolder(folder);
  EXPECT_THAT(ErrorText(previous), ::testing::HasSubstr(folder));
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
