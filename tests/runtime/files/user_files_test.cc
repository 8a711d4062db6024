// Files and paths as people have them: clones without their large files, links of unfinished
// downloads, ~.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "runtime/files/file_error.h"
#include "runtime/files/json.h"
#include "runtime/files/mapped_file.h"
#include "runtime/files/safetensors.h"
#include "runtime/files/user_path.h"
#include "runtime/files/whole_file.h"
#include "tests/status_text.h"
#include "tests/temp_folder.h"

namespace fttrain {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// What `git clone` leaves of a large file without Git LFS.
const char kPointer[] =
    "version https://git-lfs.github.com/spec/v1\n"
    "oid sha256:00000000000000000000000000000000000000000000000000000000000000aa\nsize 99\n";

TEST(LfsPointer, IsNamedWhateverTheFileIs) {
  const TempFolder folder;
  for (const char* name : {"model.safetensors", "tokenizer.model", "config.json", "rows.jsonl"}) {
    const std::string path = folder.Write(name, kPointer);
    const std::string says =
        path + " is a Git LFS pointer, not the file itself: run `git lfs pull` in " + folder.path();
    EXPECT_THAT(ReadFile(path), IsError(absl::StatusCode::kInvalidArgument, says));
    int64_t bytes = 0;
    EXPECT_THAT(OpenRegularFile(path, &bytes), IsError(absl::StatusCode::kInvalidArgument, says));
    EXPECT_EQ(ReadFileAsItIs(path).value_or(""), kPointer);
  }
  EXPECT_THAT(
      SafetensorsFolder::Open(folder.path()),
      IsError(absl::StatusCode::kInvalidArgument, "model.safetensors is a Git LFS pointer"));
}

TEST(LfsPointer, IsNamedAmongFilesOfAnotherFormat) {
  const TempFolder folder;
  folder.Write("pytorch_model.bin", kPointer);
  EXPECT_THAT(ErrorText(SafetensorsFolder::Open(folder.path())),
              AllOf(HasSubstr("convert to safetensors"),
                    HasSubstr("pytorch_model.bin is a Git LFS pointer")));
}

TEST(LfsPointer, IsSmallAndBeginsSo) {
  const TempFolder folder;
  const std::string large = kPointer + std::string(1024, 'x');
  EXPECT_EQ(ReadFile(folder.Write("large", large)).value_or(""), large);
  EXPECT_EQ(ReadFile(folder.Write("later", std::string(" ") + kPointer)).value_or("").size(),
            sizeof(kPointer));
  EXPECT_EQ(ReadFile(folder.Write("short", "version")).value_or(""), "version");
  EXPECT_EQ(ReadFile(folder.Write("empty", "")).value_or("x"), "");
}

TEST(DanglingLink, IsNamedWithWhatItNames) {
  const TempFolder folder;
  std::filesystem::create_symlink("../blobs/abc", folder / "model.safetensors");
  const std::string says = folder / "model.safetensors" +
                           ": it is a link to ../blobs/abc, which is not there (an incomplete";
  EXPECT_THAT(ReadFile(folder / "model.safetensors"), IsError(absl::StatusCode::kNotFound, says));
  EXPECT_THAT(SafetensorsFolder::Open(folder.path()), IsError(absl::StatusCode::kNotFound, says));
}

TEST(FailedRead, IsMissingBadForbiddenOrAMatterOfTheDiskWhateverTheErrno) {
  const auto code = [](int error) { return FailedRead(error, "open", "/data/rows.jsonl").code(); };
  for (const int error : {ENOENT, ENOTDIR}) EXPECT_EQ(code(error), absl::StatusCode::kNotFound);
  for (const int error : {ELOOP, ENAMETOOLONG, ENXIO, ENODEV}) {
    EXPECT_EQ(code(error), absl::StatusCode::kInvalidArgument) << error;
  }
  EXPECT_EQ(code(EACCES), absl::StatusCode::kPermissionDenied);
  for (const int error : {EIO, ESTALE, EMFILE, ENOMEM, ETIMEDOUT}) {
    EXPECT_EQ(code(error), absl::StatusCode::kUnavailable) << error;
  }
  EXPECT_EQ(ErrorText(FailedRead(EIO, "open", "/data/rows.jsonl")),
            "cannot open /data/rows.jsonl: Input/output error");
}

TEST(ExpandHome, ReplacesATildeAloneAndBeforeASlash) {
  const char* before = std::getenv("HOME");
  const std::string kept = before == nullptr ? "" : before;
  setenv("HOME", "/h/someone", 1);
  EXPECT_EQ(ExpandHome("~"), "/h/someone");
  EXPECT_EQ(ExpandHome("~/models/m"), "/h/someone/models/m");
  for (const char* path : {"", "m", "/m", "~other/m", "./~/m", "m/~"}) {
    EXPECT_EQ(ExpandHome(path), path);
  }
  unsetenv("HOME");
  EXPECT_EQ(ExpandHome("~/m"), "~/m");
  if (before != nullptr) setenv("HOME", kept.c_str(), 1);
}

TEST(ExistingFolder, IsTheFirstOnTheWayUp) {
  const TempFolder folder;
  const std::string top = folder.path();
  ASSERT_TRUE(WriteFileAtomically(top + "/file", "").ok());
  for (const char* beyond : {"", "/", "/not/made", "/not/made/", "/a/../b", "/file"}) {
    EXPECT_EQ(ExistingFolder(top + beyond), top) << beyond;
  }
  EXPECT_EQ(ExistingFolder("/"), "/");
}

TEST(JsonNode, SaysWhereItIsInOneCleanLineWhateverKeysHold) {
  const nlohmann::json json = {{"a\n\x1b[2J", 1}};
  const JsonNode node = JsonNode(&json, "x.json")["a\n\x1b[2J"];
  EXPECT_EQ(ErrorText(node.String()), "x.json: a\\n\\x1b[2J: a string is needed");
  EXPECT_EQ(node.Error(std::string("version \0v\xff", 11)).message(),
            "x.json: a\\n\\x1b[2J: version \\x00v\\xff");
}

TEST(JsonKeys, FailInPrintableWords) {
  const nlohmann::json none = nlohmann::json::object();
  JsonKeys keys(none, "x.json");
  keys.Fail("a", "is not \x07");
  EXPECT_EQ(keys.status().message(), "x.json: 'a' is not \\x07");
}

TEST(MappedFile, IsTheFileAlsoAfterItsPagesWereGivenBack) {
  const TempFolder folder;
  const std::string text(3 * 4096 + 5, 'x');
  auto file = MappedFile::Open(folder.Write("rows", text));
  ASSERT_TRUE(file.ok()) << file.status();
  (*file)->ReadInNoOrder((*file)->size());
  for (int time = 0; time < 2; ++time) {
    EXPECT_EQ(std::string((*file)->data(), static_cast<size_t>((*file)->size())), text);
    (*file)->GivePagesBack();
  }
  const auto empty = MappedFile::Open(folder.Write("empty", ""));
  ASSERT_TRUE(empty.ok()) << empty.status();
  EXPECT_EQ((*empty)->size(), 0);
  EXPECT_THAT(MappedFile::Open(folder.path() + "/none"),
              IsError(absl::StatusCode::kNotFound, "none"));
}

}  // namespace
}  // namespace fttrain
