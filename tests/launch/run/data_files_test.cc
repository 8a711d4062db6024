#include "launch/run/data_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "tests/status_text.h"
#include "tests/temp_folder.h"

namespace fttrain {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class DataFiles : public testing::Test {
 protected:
  // "key name weight" of each.
  std::vector<std::string> Names(const DataTask& task) const {
    const auto files = DataFilesOf(task);
    EXPECT_TRUE(files.ok()) << files.status();
    std::vector<std::string> out;
    if (!files.ok()) return out;
    for (const DataFile& file : *files) {
      out.push_back(absl::StrCat(file.key, " ",
                                 std::filesystem::path(file.spec.path).filename().string(), " ",
                                 file.spec.weight, file.is_learnt ? "" : " held out"));
    }
    return out;
  }
  DatasetSpec Of(const std::string& name, double weight = 1) const {
    DatasetSpec spec{folder_ / name};
    spec.weight = weight;
    return spec;
  }
  const TempFolder folder_;
};

TEST_F(DataFiles, OfAPatternAreInTheOrderOfTheirNamesWithItsWeight) {
  for (const char* name : {"b.jsonl", "B.jsonl", "a.jsonl", "a10.jsonl", "a2.jsonl", "c.csv"}) {
    folder_.Write(name, "");
  }
  std::filesystem::create_directory(folder_ / "d.jsonl");
  DataTask task;
  task.files = {Of("?.csv"), Of("*.jsonl", 0.5), Of("c.csv")};
  task.held_out_files = {Of("a[0-9].jsonl")};
  EXPECT_THAT(Names(task),
              ElementsAre("data.train[0] c.csv 1", "data.train[1] B.jsonl 0.5",
                          "data.train[1] a.jsonl 0.5", "data.train[1] a10.jsonl 0.5",
                          "data.train[1] a2.jsonl 0.5", "data.train[1] b.jsonl 0.5",
                          "data.train[2] c.csv 1", "data.eval[0] a2.jsonl 1 held out"));
}

TEST_F(DataFiles, AFileOfTheNameIsNoPattern) {
  folder_.Write("a[1].jsonl", "");
  folder_.Write("a1.jsonl", "");
  DataTask task;
  task.files = {Of("a[1].jsonl"), Of("absent.jsonl")};
  EXPECT_THAT(Names(task),
              ElementsAre("data.train[0] a[1].jsonl 1", "data.train[1] absent.jsonl 1"));
}

TEST_F(DataFiles, APatternWithoutAMatchIsRefused) {
  DataTask task;
  task.files = {Of("*.jsonl")};
  const auto none = DataFilesOf(task);
  EXPECT_TRUE(absl::IsNotFound(none.status()));
  EXPECT_EQ(ErrorText(none),
            absl::StrCat("data.train[0].path ", folder_ / "*.jsonl", ": no file matches"));
  task.files = {Of("**/a.jsonl")};
  EXPECT_THAT(ErrorText(DataFilesOf(task)), HasSubstr("** is not known: write * for each folder"));
}

}  // namespace
}  // namespace fttrain
