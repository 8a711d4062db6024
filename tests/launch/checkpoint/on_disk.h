// A run's output folder on a real disk, and another folder beside it.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "launch/checkpoint/checkpoint_folder.h"
#include "runtime/files/whole_file.h"
#include "tests/launch/checkpoint/saves.h"
#include "tests/temp_folder.h"

namespace fttrain {

class OnDisk : public testing::Test {
 protected:
  // A path in OUT/checkpoints.
  std::string In(const std::string& name) const {
    return absl::StrCat(output_.path(), "/checkpoints/", name);
  }
  void SaveSteps(const std::vector<int64_t>& steps) {
    for (const int64_t step : steps) {
      ASSERT_EQ(Save(files_, output_.path(), {step, absl::StrCat("n", step)}), absl::OkStatus());
    }
  }
  Listing List() {
    absl::StatusOr<Listing> listing = folder_.List();
    EXPECT_EQ(listing.status(), absl::OkStatus());
    return listing.ok() ? *std::move(listing) : Listing{};
  }
  // A folder outside, which nothing here may touch.
  std::string Outside() {
    std::filesystem::create_directory(outside_ / "target");
    outside_.Write("target/kept", "precious");
    return outside_ / "target";
  }
  void ExpectOutsideIsAsItWas() {
    EXPECT_EQ(ReadFile(outside_ / "target/kept").value_or(""), "precious");
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(outside_ / "target"), {}), 1);
  }

  TempFolder output_, outside_;
  FileSystem& files_ = RealFileSystem();
  CheckpointFolder folder_{files_, output_.path()};
};

}  // namespace fttrain
