#include "launch/run/output_folder.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "runtime/files/whole_file.h"

namespace fttrain {
namespace {

namespace fs = std::filesystem;

std::string FreshFolder(const std::string& name) {
  const fs::path path = fs::path(::testing::TempDir()) / name;
  fs::remove_all(path);
  return path.string();
}

TEST(OutputFolder, IsCreatedWithItsParents) {
  const std::string folder = FreshFolder("fttrain_out_new") + "/a/b";
  const auto previous = PrepareOutputFolder(folder);
  ASSERT_TRUE(previous.ok()) << previous.status();
  EXPECT_EQ(*previous, "");
  EXPECT_TRUE(fs::is_directory(folder));
  EXPECT_TRUE(fs::is_empty(folder));
}

TEST(OutputFolder, AnEarlierRunIsKept) {
  const std::string folder = FreshFolder("fttrain_out_again");
  for (int run = 1; run <= 2; ++run) {
    const auto previous = PrepareOutputFolder(folder);
    ASSERT_TRUE(previous.ok()) << previous.status();
    EXPECT_EQ(*previous, run == 1 ? "" : folder + "/previous-1");
    fs::create_directory(folder + "/adapter");
    ASSERT_TRUE(WriteFileAtomically(folder + "/adapter/x", std::to_string(run)).ok());
  }
  ASSERT_TRUE(PrepareOutputFolder(folder).ok());
  EXPECT_EQ(*ReadFile(folder + "/previous-1/adapter/x"), "1");
  EXPECT_EQ(*ReadFile(folder + "/previous-2/adapter/x"), "2");
  EXPECT_FALSE(fs::exists(folder + "/adapter"));
}

TEST(OutputFolder, AFileInItsPlaceIsAnErrorThatNamesIt) {
  const std::string folder = FreshFolder("fttrain_out_file");
  ASSERT_TRUE(WriteFileAtomically(folder, "x").ok());
  const auto previous = PrepareOutputFolder(folder);
  ASSERT_FALSE(previous.ok());
  EXPECT_THAT(std::string(previous.status().message()), ::testing::HasSubstr(folder));
}

TEST(OutputFolder, WhatTheRunReadsIsNotMovedAway) {
  const std::string folder = FreshFolder("fttrain_out_read");
  fs::create_directories(folder + "/adapter");
  const absl::Status refused =
      CheckIsNotMoved("adapter.init_from", folder + "/./adapter/", folder + "/");
  EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.message()), ::testing::HasSubstr("choose another output_dir"));
  EXPECT_TRUE(CheckIsNotMoved("adapter.init_from", folder + "/previous-1/adapter", folder).ok());
  EXPECT_TRUE(CheckIsNotMoved("model.path", "models/adapter", folder).ok());
}

}  // namespace
}  // namespace fttrain
