#include "runtime/files/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "tests/runtime/files/safetensors_bytes.h"
#include "tests/temp_folder.h"

namespace fttrain {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::string Message(const absl::Status& status) { return std::string(status.message()); }

// A file that holds the given uint8 tensors of one byte each.
std::string ByteTensors(const std::vector<std::string>& names) {
  std::string header = "{";
  for (size_t i = 0; i < names.size(); ++i) {
    header +=
        (i > 0 ? "," : "") +
        Item(names[i], "U8", "[1]", "[" + std::to_string(i) + "," + std::to_string(i + 1) + "]");
  }
  return FileBytes(header + "}", std::string(names.size(), 'x'));
}

constexpr char kIndex[] = "model.safetensors.index.json";
constexpr char kShard1[] = "model-00001-of-00002.safetensors";
constexpr char kShard2[] = "model-00002-of-00002.safetensors";

std::string Index(const std::string& a, const std::string& b) {
  return R"({"metadata":{"total_size":2,"x":[{"y":null}]},"weight_map":{"a":")" + a + R"(","b":")" +
         b + "\"}}";
}

TEST(SafetensorsWriter, WritesWhatTheReaderReads) {
  const TempFolder folder;
  const std::string path = folder / "x.safetensors";
  const float w[6] = {1, 2, 3, 4, 5, 6};
  const int64_t ids[2] = {-1, int64_t{1} << 40};
  auto writer = SafetensorsWriter::Create(path,
                                          {{"w", SafetensorsDtype::kF32, {2, 3}},
                                           {"e", SafetensorsDtype::kBF16, {0, 4}},
                                           {"ids", SafetensorsDtype::kI64, {2}}},
                                          {{"format", "pt"}});
  ASSERT_TRUE(writer.ok()) << writer.status();
  ASSERT_TRUE((*writer)->Append(w, 5).ok());  // pieces need not respect elements
  ASSERT_TRUE((*writer)->Append(reinterpret_cast<const char*>(w) + 5, 19).ok());
  ASSERT_TRUE((*writer)->Append(ids, 16).ok());
  EXPECT_FALSE(std::filesystem::exists(path)) << "nothing in place before Finish";
  ASSERT_TRUE((*writer)->Finish().ok());
  EXPECT_EQ(folder.FileCount(), 1);

  const auto file = SafetensorsFile::Open(path);
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_THAT((*file)->metadata(), ElementsAre(testing::Pair("format", "pt")));
  ASSERT_EQ((*file)->entries().size(), 3);
  EXPECT_THAT((*file)->entries().find("w")->second.shape, ElementsAre(2, 3));
  EXPECT_EQ((*file)->entries().find("e")->second.dtype, SafetensorsDtype::kBF16);
  EXPECT_EQ((*file)->entries().find("w")->second.offset_bytes % 8, 0);
  float two[2] = {};
  ASSERT_TRUE((*file)->ReadBytes("w", 8, 8, two).ok());
  EXPECT_THAT(two, ElementsAre(3, 4));
  int64_t read_ids[2] = {};
  ASSERT_TRUE((*file)->ReadBytes("ids", 0, 16, read_ids).ok());
  EXPECT_THAT(read_ids, ElementsAre(ids[0], ids[1]));
}

TEST(SafetensorsWriter, RefusesTooFewAndTooManyBytesAndLeavesNothing) {
  const TempFolder folder;
  {
    auto writer = SafetensorsWriter::Create(folder / "x", {{"w", SafetensorsDtype::kU8, {4}}}, {});
    ASSERT_TRUE(writer.ok()) << writer.status();
    EXPECT_THAT(Message((*writer)->Append("12345", 5)), HasSubstr("appending 5 bytes where 4"));
    ASSERT_TRUE((*writer)->Append("123", 3).ok());
    EXPECT_THAT(Message((*writer)->Finish()), HasSubstr("1 of the declared bytes"));
    EXPECT_EQ(folder.FileCount(), 1);
  }
  EXPECT_EQ(folder.FileCount(), 0);
}

TEST(SafetensorsWriter, RefusesImpossibleDeclarations) {
  const TempFolder folder;
  const auto create = [&](std::vector<SafetensorsWriter::Tensor> tensors) {
    return Message(SafetensorsWriter::Create(folder / "x", tensors, {}).status());
  };
  const auto f32 = SafetensorsDtype::kF32;
  EXPECT_THAT(create({{"w", f32, {1}}, {"w", f32, {1}}}), HasSubstr("'w' is declared twice"));
  EXPECT_THAT(create({{"w", f32, {-1}}}), HasSubstr("impossible shape"));
  EXPECT_THAT(create({{"w", f32, {int64_t{1} << 62, 4}}}), HasSubstr("impossible shape"));
  EXPECT_THAT(create({{"w\xff", f32, {1}}}), HasSubstr("UTF-8"));
  EXPECT_EQ(folder.FileCount(), 0);
}

TEST(SafetensorsWriter, KeepsTheOldFileUntilTheNewOneIsWhole) {
  const TempFolder folder;
  const std::string path = folder.Write("x", "old");
  {
    auto writer = SafetensorsWriter::Create(path, {{"w", SafetensorsDtype::kU8, {4}}}, {});
    ASSERT_TRUE(writer.ok() && (*writer)->Append("12", 2).ok());
  }
  EXPECT_EQ(*ReadFile(path), "old");
}

// Limits the size of files this process writes, as a quota would; writes fail with EFBIG beyond it.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old_);
    const rlimit limit = {bytes, old_.rlim_max};
    setrlimit(RLIMIT_FSIZE, &limit);
  }
  ~FileSizeLimit() { setrlimit(RLIMIT_FSIZE, &old_); }

 private:
  rlimit old_;
};

TEST(SafetensorsWriter, SaysAtTheStartThatTheDiskCannotHoldTheFile) {
  const TempFolder folder;
  const FileSizeLimit limit(1 << 20);
  const auto writer =
      SafetensorsWriter::Create(folder / "x", {{"w", SafetensorsDtype::kU8, {1 << 21}}}, {});
  ASSERT_FALSE(writer.ok());
  EXPECT_THAT(Message(writer.status()), HasSubstr(folder / "x"));
  EXPECT_THAT(Message(writer.status()), testing::ContainsRegex("[0-9]+ bytes to go, [0-9]+ free"));
  EXPECT_EQ(folder.FileCount(), 0);
}

TEST(SafetensorsWriter, RemovesItsTemporaryFileWhenTheDiskFillsUp) {
  const TempFolder folder;
  auto writer =
      SafetensorsWriter::Create(folder / "x", {{"w", SafetensorsDtype::kU8, {1 << 21}}}, {});
  ASSERT_TRUE(writer.ok()) << writer.status();
  const std::string data(1 << 21, 'x');
  const FileSizeLimit limit(1 << 20);
  const absl::Status status = (*writer)->Append(data.data(), 1 << 21);
  EXPECT_THAT(Message(status), HasSubstr("cannot write " + (folder / "x")));
  EXPECT_THAT(Message(status), HasSubstr("File too large"));
  EXPECT_EQ(folder.FileCount(), 0);
}

TEST(SafetensorsWriter, NamesAFolderThatIsNotThere) {
  const auto writer = SafetensorsWriter::Create("/nonexistent/x", {}, {});
  EXPECT_EQ(writer.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(Message(writer.status()), HasSubstr("/nonexistent/x"));
}

TEST(SafetensorsFile, ReadsOnlyInsideATensor) {
  const TempFolder folder;
  const auto file = SafetensorsFile::Open(folder.Write("x", ByteTensors({"a", "b"})));
  ASSERT_TRUE(file.ok());
  char byte[2];
  EXPECT_TRUE((*file)->ReadBytes("a", 1, 0, byte).ok());
  EXPECT_EQ((*file)->ReadBytes("a", 0, 2, byte).code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ((*file)->ReadBytes("a", -1, 1, byte).code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ((*file)->ReadBytes("a", INT64_MAX, INT64_MAX, byte).code(),
            absl::StatusCode::kOutOfRange);
  EXPECT_EQ((*file)->ReadBytes("c", 0, 1, byte).code(), absl::StatusCode::kNotFound);
}

TEST(SafetensorsFile, ThatShrinksWhileOpenIsAnErrorNotASignal) {
  const TempFolder folder;
  const std::string path = folder.Write("x", ByteTensors({"a", "b"}));
  const auto file = SafetensorsFile::Open(path);
  ASSERT_TRUE(file.ok());
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 1);
  char byte;
  EXPECT_TRUE((*file)->ReadBytes("a", 0, 1, &byte).ok());
  const absl::Status status = (*file)->ReadBytes("b", 0, 1, &byte);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(Message(status), HasSubstr("tensor 'b'"));
}

TEST(SafetensorsFile, MustBeARegularFile) {
  const TempFolder folder;
  ASSERT_EQ(mkfifo((folder / "fifo").c_str(), 0600), 0);
  for (const std::string& path : {folder.path(), folder / "fifo", std::string("/dev/zero")}) {
    EXPECT_THAT(Message(SafetensorsFile::Open(path).status()), HasSubstr("not a regular file"))
        << path;
  }
  EXPECT_EQ(SafetensorsFile::Open(folder / "no").status().code(), absl::StatusCode::kNotFound);
}

TEST(SafetensorsFolder, OpensOneFileOrShards) {
  const TempFolder single, sharded;
  single.Write("model.safetensors", ByteTensors({"a", "b"}));
  sharded.Write(kShard1, ByteTensors({"a"}));
  sharded.Write(kShard2, ByteTensors({"b"}));
  sharded.Write(kIndex, Index(kShard1, kShard2));
  for (const TempFolder* where : {&single, &sharded}) {
    const auto folder = SafetensorsFolder::Open(where->path());
    ASSERT_TRUE(folder.ok()) << folder.status();
    EXPECT_THAT((*folder)->Names(), ElementsAre("a", "b"));
    EXPECT_TRUE((*folder)->Contains("a"));
    EXPECT_FALSE((*folder)->Contains("c"));
    EXPECT_EQ((*folder)->Find("c"), nullptr);
    ASSERT_NE((*folder)->Find("b"), nullptr);
    char byte = 0;
    EXPECT_TRUE((*folder)->ReadBytes("b", 0, 1, &byte).ok());
    EXPECT_EQ(byte, 'x');
    EXPECT_EQ((*folder)->ReadBytes("c", 0, 1, &byte).code(), absl::StatusCode::kNotFound);
  }
}

TEST(SafetensorsFolder, OpensAFileOfAnotherName) {
  const TempFolder where;
  const auto folder = SafetensorsFolder::OpenFile(where.Write("adapter", ByteTensors({"a"})));
  ASSERT_TRUE(folder.ok()) << folder.status();
  EXPECT_THAT((*folder)->Names(), ElementsAre("a"));
  EXPECT_EQ((*folder)->PathOf("a"), where / "adapter");
}

TEST(SafetensorsFolder, FollowsSymbolicLinksToRegularFiles) {
  const TempFolder where, cache;
  where.Write(kIndex, Index(kShard1, kShard1));
  std::filesystem::create_symlink(cache.Write("blob", ByteTensors({"a", "b"})), where / kShard1);
  EXPECT_TRUE(SafetensorsFolder::Open(where.path()).ok());
}

TEST(SafetensorsFolder, ListsEveryMissingShardAtOnce) {
  const TempFolder where;
  where.Write(kIndex, Index(kShard1, kShard2));
  const auto folder = SafetensorsFolder::Open(where.path());
  EXPECT_EQ(folder.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(folder.status()), HasSubstr("2 of 2 shards missing"));
  EXPECT_THAT(Message(folder.status()), HasSubstr(kShard1));
  EXPECT_THAT(Message(folder.status()), HasSubstr(kShard2));
}

TEST(SafetensorsFolder, RefusesATensorInTwoShards) {
  const TempFolder where;
  where.Write(kShard1, ByteTensors({"a", "b"}));
  where.Write(kShard2, ByteTensors({"b"}));
  where.Write(kIndex, Index(kShard1, kShard2));
  EXPECT_THAT(Message(SafetensorsFolder::Open(where.path()).status()),
              HasSubstr("tensor 'b' is in both"));
}

TEST(SafetensorsFolder, RefusesATensorThatItsShardLacks) {
  const TempFolder where;
  where.Write(kShard1, ByteTensors({"b"}));
  where.Write(kShard2, ByteTensors({"a"}));
  where.Write(kIndex, Index(kShard1, kShard2));
  const std::string message = Message(SafetensorsFolder::Open(where.path()).status());
  EXPECT_THAT(message, HasSubstr("2 tensors are not in the shard it names"));
  EXPECT_THAT(message, HasSubstr(std::string("a (") + kShard1 + ")"));
}

class HostileShardName : public testing::TestWithParam<const char*> {};

TEST_P(HostileShardName, IsRefusedBeforeAnythingIsOpened) {
  const TempFolder where;
  where.Write(kShard1, ByteTensors({"a"}));
  where.Write(kIndex, Index(kShard1, GetParam()));
  EXPECT_THAT(Message(SafetensorsFolder::Open(where.path()).status()),
              HasSubstr("not a plain name"));
}

INSTANTIATE_TEST_SUITE_P(Index, HostileShardName,
                         testing::Values("../x.safetensors", "/etc/x.safetensors",
                                         "a/b.safetensors", "x\\\\y.safetensors", ".safetensors",
                                         "..", "", "/dev/zero", "x\\u0000.safetensors",
                                         "pytorch_model.bin", ".hidden.safetensors"));

TEST(SafetensorsFolder, RefusesShardsThatAreNotRegularFiles) {
  const TempFolder where;
  where.Write(kIndex, Index(kShard1, kShard1));
  ASSERT_EQ(mkfifo((where / kShard1).c_str(), 0600), 0);
  EXPECT_THAT(Message(SafetensorsFolder::Open(where.path()).status()),
              HasSubstr("not a regular file"));
  std::filesystem::remove(where / kShard1);
  std::filesystem::create_directory(where / kShard1);
  EXPECT_THAT(Message(SafetensorsFolder::Open(where.path()).status()),
              HasSubstr("not a regular file"));
}

TEST(SafetensorsFolder, RefusesAMalformedIndex) {
  const std::pair<const char*, const char*> cases[] = {
      {"", "parse error"},
      {"[]", "not a JSON object"},
      {"{}", "weight_map: an object is needed"},
      {R"({"weight_map":{}})", "weight_map: no tensors"},
      {R"({"weight_map":[]})", "weight_map: an object is needed"},
      {R"({"weight_map":{"a":1}})", "tensor 'a': a string is needed"},
      {R"({"weight_map":{"a":{}}})", "tensor 'a': a string is needed"},
      {R"({"weight_map":{"a":"x.safetensors","a":"x.safetensors"}})", "key 'a' appears twice"},
      {R"({"weight_map":{},"weight_map":{}})", "key 'weight_map' appears twice"},
      {"{\"weight_map\":{\"\xff\":\"x.safetensors\"}}", "UTF-8"},
  };
  for (const auto& [text, complaint] : cases) {
    const TempFolder where;
    where.Write(kIndex, text);
    const std::string message = Message(SafetensorsFolder::Open(where.path()).status());
    EXPECT_THAT(message, HasSubstr(complaint)) << text;
    EXPECT_THAT(message, HasSubstr(where / kIndex)) << text;
  }
  std::string deep = R"({"metadata":)";
  for (int i = 0; i < 100000; ++i) deep += "[";
  const TempFolder where;
  where.Write(kIndex, deep);
  EXPECT_THAT(Message(SafetensorsFolder::Open(where.path()).status()), HasSubstr("nested deeper"));
}

TEST(SafetensorsFolder, HintsAtConversionWhereOnlyOtherFormatsAre) {
  const TempFolder where;
  EXPECT_THAT(Message(SafetensorsFolder::Open(where.path()).status()), Not(HasSubstr("convert")));
  where.Write("pytorch_model.bin", "\x80\x02");
  where.Write("model.gguf", "GGUF");
  const auto folder = SafetensorsFolder::Open(where.path());
  EXPECT_EQ(folder.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Message(folder.status()),
              HasSubstr("model.gguf, pytorch_model.bin not supported, convert to safetensors"));
}

TEST(ReadFile, IsBounded) {
  const TempFolder where;
  const std::string path = where.Write("x", "12345");
  EXPECT_EQ(*ReadFile(path, 5), "12345");
  EXPECT_THAT(Message(ReadFile(path, 4).status()), HasSubstr("5 bytes exceed the limit of 4"));
}

TEST(WriteFileAtomically, ReplacesTheFileAndLeavesNoOther) {
  const TempFolder where;
  const std::string path = where.Write("x", "a longer old text");
  ASSERT_TRUE(WriteFileAtomically(path, "new").ok());
  EXPECT_EQ(*ReadFile(path), "new");
  EXPECT_EQ(where.FileCount(), 1);
}

TEST(WriteFileAtomically, WhereNothingCanBeWrittenIsAFailureToWrite) {
  const TempFolder where;
  where.Write("file", "x");
  for (const char* path : {"file/x", "missing/x"}) {
    const absl::Status status = WriteFileAtomically(where / path, "new");
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  }
  std::filesystem::create_directory(where / "folder");
  EXPECT_EQ(WriteFileAtomically(where / "folder", "new").code(), absl::StatusCode::kUnavailable);
}

TEST(WriteFileAtomically, OnlyReplacesARegularFile) {
  const TempFolder where;
  const std::string pipe = where / "pipe", link = where / "link";
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);
  std::filesystem::create_symlink(where.Write("file", "old"), link);
  for (const std::string& path : {pipe, link}) {
    const absl::Status status = WriteFileAtomically(path, "new");
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(Message(status), HasSubstr("is not a regular file"));
  }
  EXPECT_TRUE(std::filesystem::is_fifo(pipe));
  EXPECT_TRUE(std::filesystem::is_symlink(link));
  EXPECT_EQ(where.FileCount(), 3);
}

TEST(WriteFileAtomically, DoesNotFollowALinkPlantedAtTheTemporaryName) {
  const TempFolder where, other;
  const std::string victim = other.Write("victim", "precious");
  std::filesystem::create_symlink(victim, (where / "x") + ".tmp-" + std::to_string(getpid()));
  ASSERT_TRUE(WriteFileAtomically(where / "x", "new").ok());
  EXPECT_EQ(*ReadFile(victim), "precious");
  EXPECT_EQ(*ReadFile(where / "x"), "new");
}

}  // namespace
}  // namespace fttrain
