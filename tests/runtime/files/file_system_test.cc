#include "runtime/files/file_system.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <cerrno>
#include <filesystem>
#include <string>

#include "absl/strings/str_cat.h"
#include "runtime/files/whole_file.h"
#include "tests/runtime/files/failing_system_calls.h"
#include "tests/runtime/files/recording_file_system.h"
#include "tests/status_text.h"
#include "tests/temp_folder.h"

namespace fttrain {
namespace {

namespace fs = std::filesystem;
using ::testing::ElementsAre;
using enum absl::StatusCode;

std::vector<std::string> Names(const absl::StatusOr<std::vector<FolderEntry>>& entries) {
  std::vector<std::string> names;
  for (const FolderEntry& entry : entries.value()) names.push_back(entry.name);
  return names;
}

// The real one, and the double in memory that stands for it in other tests.
class AnyFileSystem : public testing::TestWithParam<bool> {
 protected:
  FileSystem& files() { return GetParam() ? RealFileSystem() : recording_; }
  std::string In(const std::string& name) const {
    return absl::StrCat(GetParam() ? folder_.path() : "", "/", name);
  }

  TempFolder folder_;
  RecordingFileSystem recording_;
};

TEST_P(AnyFileSystem, FilesAreMadeOnceAndReadInParts) {
  ASSERT_EQ(WriteNewFile(files(), In("a"), "0123456789"), absl::OkStatus());
  EXPECT_THAT(WriteNewFile(files(), In("a"), "x"), IsError(kAlreadyExists, In("a")));
  EXPECT_EQ(ReadAll(files(), In("a"), 10).value(), "0123456789");
  EXPECT_THAT(ReadAll(files(), In("a"), 9), IsError(kInvalidArgument, "10 bytes exceed"));
  std::string part(4, ' ');
  ASSERT_EQ(files().ReadAt(In("a"), 3, part.data(), 4), absl::OkStatus());
  EXPECT_EQ(part, "3456");
  EXPECT_THAT(files().ReadAt(In("a"), 7, part.data(), 4), IsError(kDataLoss, In("a")));
  EXPECT_EQ(files().Size(In("a")).value(), 10);
  EXPECT_THAT(files().Size(In("b")), IsError(kNotFound, In("b")));
  EXPECT_THAT(files().Create(In("no/b"), 0).status(), IsError(kNotFound, In("no/b")));
}

TEST_P(AnyFileSystem, FoldersAreMadeListedAndRemoved) {
  ASSERT_EQ(files().MakeFolder(In("f")), absl::OkStatus());
  EXPECT_THAT(files().MakeFolder(In("f")), IsError(kAlreadyExists, In("f")));
  EXPECT_THAT(files().MakeFolder(In("no/f")), IsError(kNotFound, In("no/f")));
  ASSERT_EQ(files().MakeFolder(In("f/z")), absl::OkStatus());
  ASSERT_EQ(WriteNewFile(files(), In("f/b"), ""), absl::OkStatus());
  EXPECT_EQ(files().SyncFolder(In("f")), absl::OkStatus());
  EXPECT_THAT(Names(files().List(In("f"))), ElementsAre("b", "z"));
  EXPECT_EQ(files().Kind(In("f/z")).value(), EntryKind::kFolder);
  EXPECT_EQ(files().Kind(In("f/b")).value(), EntryKind::kFile);
  EXPECT_EQ(files().Kind(In("f/c")).value(), std::nullopt);
  EXPECT_FALSE(files().RemoveFolder(In("f")).ok());
  EXPECT_EQ(RemoveTree(files(), In("f")), absl::OkStatus());
  EXPECT_EQ(RemoveTree(files(), In("f")), absl::OkStatus());
  EXPECT_THAT(files().List(In("f")), IsError(kNotFound, In("f")));
}

TEST_P(AnyFileSystem, ARenameReplacesNothingUnlessAsked) {
  ASSERT_EQ(files().MakeFolder(In("f")), absl::OkStatus());
  ASSERT_EQ(files().MakeFolder(In("g")), absl::OkStatus());
  ASSERT_EQ(WriteNewFile(files(), In("a"), "a"), absl::OkStatus());
  ASSERT_EQ(WriteNewFile(files(), In("b"), "b"), absl::OkStatus());
  EXPECT_THAT(files().Rename(In("f"), In("g")), IsError(kAlreadyExists, In("g")));
  EXPECT_THAT(files().Rename(In("a"), In("b")), IsError(kAlreadyExists, In("b")));
  EXPECT_EQ(files().Rename(In("f"), In("h")), absl::OkStatus());
  EXPECT_THAT(files().Rename(In("f"), In("i")), IsError(kNotFound, In("f")));
  EXPECT_EQ(files().Replace(In("a"), In("b")), absl::OkStatus());
  EXPECT_EQ(ReadAll(files(), In("b"), 9).value(), "a");
  EXPECT_FALSE(files().Replace(In("b"), In("g")).ok());
}

INSTANTIATE_TEST_SUITE_P(Is, AnyFileSystem, testing::Values(true, false),
                         [](const auto& each) { return each.param ? "Real" : "InMemory"; });

TEST(FileSystem, FollowsNoLink) {
  const TempFolder folder;
  FileSystem& files = RealFileSystem();
  folder.Write("file", "kept");
  fs::create_symlink("file", folder / "link");
  fs::create_directory(folder / "inner");
  folder.Write("inner/file", "kept");
  fs::create_directory(folder / "tree");
  fs::create_directory_symlink(folder / "inner", folder / "tree/link");
  EXPECT_THAT(files.Create(folder / "link", 0).status(), IsError(kAlreadyExists, "link"));
  EXPECT_THAT(files.Size(folder / "link"), IsError(kInvalidArgument, "a symbolic link"));
  EXPECT_THAT(files.List(folder / "tree/link"), IsError(kInvalidArgument, "symbolic link"));
  EXPECT_THAT(files.SyncFolder(folder / "tree/link"), IsError(kInvalidArgument, "symbolic link"));
  EXPECT_THAT(files.Size(folder / "tree"), IsError(kInvalidArgument, "not a regular file"));
  EXPECT_EQ(files.Kind(folder / "link").value(), EntryKind::kLink);
  EXPECT_EQ(RemoveTree(files, folder / "tree"), absl::OkStatus());
  EXPECT_EQ(ReadFile(folder / "inner/file").value_or(""), "kept");
}

TEST(FileSystem, WithoutNoReplaceLooksBeforeItRenames) {
  struct Old : SystemCalls {
    int RenameNoReplace(const char*, const char*) override {
      errno = EINVAL;
      return -1;
    }
  } calls;
  const TempFolder folder;
  const auto files = FileSystemOver(calls);
  folder.Write("a", "a");
  folder.Write("b", "b");
  EXPECT_THAT(files->Rename(folder / "a", folder / "b"), IsError(kAlreadyExists, "b"));
  EXPECT_EQ(files->Rename(folder / "a", folder / "c"), absl::OkStatus());
  EXPECT_EQ(ReadFile(folder / "b").value_or(""), "b");
}

TEST(FileSystem, AFailedFsyncOrCloseIsNotRepeated) {
  struct Faulty : SystemCalls {
    int syncs = 0, closes = 0;
    int Sync(int) override {
      ++syncs;
      errno = EIO;
      return -1;
    }
    int Close(int fd) override {
      ++closes;
      SystemCalls::Close(fd);
      errno = EDQUOT;
      return -1;
    }
  } calls;
  const TempFolder folder;
  const auto files = FileSystemOver(calls);
  auto file = files->Create(folder / "a", 0).value();
  EXPECT_THAT(file->Sync(), IsError(kUnavailable, "cannot fsync " + (folder / "a")));
  EXPECT_THAT(file->Close(), IsError(kResourceExhausted, "cannot close " + (folder / "a")));
  file.reset();
  EXPECT_EQ(calls.syncs, 1);
  EXPECT_EQ(calls.closes, 1);
  EXPECT_THAT(files->SyncFolder(folder.path()), IsError(kUnavailable, folder.path()));
  EXPECT_EQ(calls.syncs, 2);
}

// As under `ulimit -f`. The signal, which would end the process, is ignored as the program does.
class SmallFiles {
 public:
  SmallFiles() : handler_(signal(SIGXFSZ, SIG_IGN)) {
    getrlimit(RLIMIT_FSIZE, &before_);
    const rlimit small = {4096, before_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
  }
  ~SmallFiles() {
    setrlimit(RLIMIT_FSIZE, &before_);
    signal(SIGXFSZ, handler_);
  }

 private:
  sighandler_t handler_;
  rlimit before_;
};

TEST(FileSystem, AFileThatIsTooLargeSaysWhatIsNeededAndFree) {
  const TempFolder folder;
  const auto write = [&](const char* name, int64_t expected_bytes) -> absl::Status {
    const SmallFiles limit;
    const auto file = RealFileSystem().Create(folder / name, expected_bytes);
    // Some file systems know the limit when they reserve, some when they write.
    return file.ok() ? (*file)->Append(std::string(10000, 'x').data(), 10000) : file.status();
  };
  EXPECT_THAT(write("expected", 10000), IsError(kResourceExhausted, " bytes to go, "));
  EXPECT_THAT(write("unexpected", 0), IsError(kResourceExhausted, " free): "));
}

TEST(FileSystem, ForbiddenIsForbidden) {
  struct Forbidding : SystemCalls {
    int MakeFolder(const char*) override {
      errno = EACCES;
      return -1;
    }
    int RenameNoReplace(const char*, const char*) override {
      errno = EXDEV;
      return -1;
    }
  } calls;
  const auto files = FileSystemOver(calls);
  EXPECT_THAT(files->MakeFolder("/x"), IsError(kPermissionDenied, "cannot make the folder /x"));
  EXPECT_THAT(files->Rename("/x", "/y"), IsError(kUnavailable, "cannot rename /x to /y"));
}

// What must last does, and what was not synced has been seen lost, in a few hundred power cuts.
TEST(RecordingFileSystem, LosesOnlyWhatWasNotSynced) {
  RecordingFileSystem files;
  ASSERT_EQ(WriteNewFile(files, "/lasting", "all of it"), absl::OkStatus());
  ASSERT_EQ(WriteNewFile(files, "/kept", "all of it"), absl::OkStatus());
  auto file = files.Create("/bytes", 0).value();
  ASSERT_EQ(files.SyncFolder("/"), absl::OkStatus());
  ASSERT_EQ(file->Append("not synced", 10), absl::OkStatus());
  ASSERT_EQ(files.Rename("/lasting", "/renamed"), absl::OkStatus());
  std::mt19937_64 random(1);
  int whole = 0, torn = 0, both = 0, neither = 0, moved = 0;
  for (int i = 0; i < 500; ++i) {
    const auto after = files.AfterPowerCut(files.operations(), random);
    EXPECT_EQ(ReadAll(*after, "/kept", 99).value_or(""), "all of it");
    const bool from = after->Kind("/lasting").value().has_value();
    const bool to = after->Kind("/renamed").value().has_value();
    if (from != to) {
      EXPECT_EQ(ReadAll(*after, from ? "/lasting" : "/renamed", 99).value_or(""), "all of it");
    }
    both += from && to, neither += !from && !to, moved += to && !from;
    (ReadAll(*after, "/bytes", 99).value() == "not synced" ? whole : torn) += 1;
  }
  EXPECT_GT(whole, 50);
  EXPECT_GT(torn, 50);
  EXPECT_GT(both, 10);
  EXPECT_GT(neither, 10);
  EXPECT_GT(moved, 50);
}

}  // namespace
}  // namespace fttrain
