// What a dataset file may be, by its first bytes; and how others are refused.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>

#include "tests/data/formats/rows.h"
#include "tests/status_text.h"

namespace fttrain {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using enum RowFormat;

class Files : public RowsTest {
 protected:
  // The rows' places, each without the folder.
  std::vector<std::string> Places(const std::string& name, const std::string& text) const {
    const auto read = Load(name, text, kText);
    EXPECT_TRUE(read.ok()) << read.status();
    std::vector<std::string> out;
    for (size_t i = 0; read.ok() && i < read->examples.size(); ++i) {
      out.push_back(read->examples[i].source.substr(folder_.path().size() + 1));
    }
    return out;
  }
};

const char* const kTwoLines = "{\"text\": \"one\"}\n{\"text\": \"two\"}\n";
const char* const kArray = "[{\"text\": \"one\"},\n {\"text\": \"two\"}]\n";

TEST_F(Files, LinesWithBomCrlfBlankLinesAndNoFinalNewline) {
  EXPECT_THAT(Places("a.jsonl", "\xEF\xBB\xBF{\"text\": \"one\"}\r\n\r\n  \n{\"text\": \"two\"}"),
              ElementsAre("a.jsonl:1", "a.jsonl:4"));
}

TEST_F(Files, AreKnownByTheirFirstBytesWhateverTheirName) {
  for (const char* name : {"a.jsonl", "a.json", "a.txt", "a", "a.csv"}) {
    const std::string n = name;
    EXPECT_THAT(Places(name, kTwoLines), ElementsAre(n + ":1", n + ":2"));
    EXPECT_THAT(Places(name, kArray), ElementsAre(n + "[0]", n + "[1]"));
    EXPECT_THAT(Places(name, std::string("\xEF\xBB\xBF\n ") + kArray),
                ElementsAre(n + "[0]", n + "[1]"));
    EXPECT_THAT(Places(name, std::string("{\"version\": 1, \"data\" : ") + kArray + ", \"n\": []}"),
                ElementsAre(n + "[0]", n + "[1]"));
    EXPECT_THAT(Places(name, Gzip(kTwoLines)), ElementsAre(n + ":1", n + ":2"));
    EXPECT_THAT(Places(name, Gzip(kArray)), ElementsAre(n + "[0]", n + "[1]"));
  }
}

TEST_F(Files, KeysBesideTheListOfRowsAreCounted) {
  const auto read =
      Load("a.json", R"({"version": "1", "rows": [{"text": "a"}], "about": {"x": [1]}})", kText);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_THAT(read->report.unused,
              ElementsAre(testing::Pair("about", 1), testing::Pair("version", 1)));
}

TEST_F(Files, OneObjectWithARowsKeyIsARow) {
  EXPECT_THAT(Places("a.json", R"({"text": "a", "sources": [{"url": "x"}]})"),
              ElementsAre("a.json:1"));
  const auto renamed =
      Load("b.json", R"({"body": "a", "sources": [{"url": "x"}]})", kText, {{"text", "body"}});
  EXPECT_TRUE(renamed.ok()) << renamed.status();
}

TEST_F(Files, BracketsInStringsAreNoBrackets) {
  EXPECT_THAT(Places("a.json", R"([{"text": "}]\"[{"}, {"text": "\\"}])"),
              ElementsAre("a.json[0]", "a.json[1]"));
}

TEST_F(Files, GzipMembersFollowEachOther) {
  EXPECT_THAT(Places("a.jsonl.gz", Gzip("{\"text\": \"a\"}\n{\"te") + Gzip("xt\": \"b\"}\n") +
                                       std::string(100, '\0')),
              ElementsAre("a.jsonl.gz:1", "a.jsonl.gz:2"));
}

TEST_F(Files, LargeFilesAreReadInBlocks) {
  std::string lines, array = "[";
  for (int i = 0; i < 3000; ++i) {
    const std::string row = R"({"text": "a", "filler": ")" + std::string(1000, 'x') + "\"}";
    lines += row + "\n";
    array += (i > 0 ? ",\n" : "") + row;
  }
  for (const std::string& text : {lines, array + "]", Gzip(lines), "{\"d\": " + array + "]}"}) {
    EXPECT_EQ(Places("big", text).size(), 3000u);
  }
}

TEST_F(Files, OnlyARegularFileIsRead) {
  const std::string pipe = folder_.Write("pipe.jsonl", "");
  std::filesystem::remove(pipe);
  ASSERT_EQ(mkfifo(pipe.c_str(), 0600), 0);  // reading it would never return
  EXPECT_EQ(ErrorText(LoadDataset({pipe, kText}, options_)), pipe + ": not a regular file");
  EXPECT_TRUE(absl::IsNotFound(LoadDataset({folder_ / "absent.jsonl", kText}, options_).status()));
  std::filesystem::create_directory(folder_ / "folder.jsonl");
  EXPECT_FALSE(LoadDataset({folder_ / "folder.jsonl", kText}, options_).ok());
}

TEST_F(Files, TheFirstRowsAreReadAloneAndAllAreCounted) {
  const std::string lines = "{\"text\": \"a\"}\n{\"text\": \"b\"}\n\n{\"text\": 3}\nno JSON\n";
  options_.most_rows = 2;
  for (const std::string& text : {lines, Gzip(lines)}) {
    const auto read = Load("first.jsonl", text, kText);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(read->report.rows, 2);
    EXPECT_EQ(read->examples.size(), 2u);
    EXPECT_EQ(CountRows({folder_ / "first.jsonl", kText}, options_).value(), 4);
  }
  EXPECT_THAT(ErrorText(Load("masked.jsonl",
                             R"({"input_ids": [1, 2], "labels": [-100, -100]})"
                             "\n"
                             R"({"input_ids": [1, 2], "labels": [-100, -100]})"
                             "\n"
                             R"({"input_ids": [1, 2]})",
                             RowFormat::kTokens)),
              HasSubstr("masked.jsonl: none of its first 2 rows has a token to learn"));
}

TEST_F(Files, RowsBeyondTheLimitAreRefusedByNumberAndTheRestIsRead) {
  options_.max_row_bytes = 64;
  const std::string row = "{\"text\": \"" + std::string(5000000, 'a') + "\"}";
  EXPECT_EQ(ErrorText(Load("a.jsonl", "{\"text\": \"a\"}\n" + row + "\n{}\n", kText)),
            folder_ / "a.jsonl:2: the line is longer than 64 bytes: split it\n" +
                (folder_ / "a.jsonl:3: key 'text' is missing"));
  EXPECT_EQ(ErrorText(Load("a.json", "[{\"text\": \"a\"}, " + row + ", {}]", kText)),
            folder_ / "a.json[1]: the row is longer than 64 bytes: split it\n" +
                (folder_ / "a.json[2]: key 'text' is missing"));
}

struct BadFile {
  std::string name, text, message;
};

TEST_F(Files, OfOtherKindsAreRefusedByName) {
  const std::string packed = Gzip(kTwoLines);
  std::string damaged = packed;
  damaged[damaged.size() - 6] ^= 1;  // of the check sum
  std::string flipped = packed;
  flipped[12] ^= 0x55;
  const BadFile table[] = {
      {"empty.jsonl", "", ": there are no rows"},
      {"blank.jsonl", "\n\n", ": there are no rows"},
      {"empty.json", "", ": there are no rows"},
      {"none.json", "[]", ": there are no rows"},
      {"none.gz", Gzip(""), ": there are no rows"},
      {"object.json", "{}", ":1: key 'text' is missing"},
      {"row.json", "[{\"text\": \"a\"}, 3]", "[1]: a row is a JSON object, not number"},
      {"bad.json", "[{\"text\": nope}, {\"text\": \"a\"}]", "[0]: not valid JSON at byte"},
      {"cut.json", "[{\"text\": \"a\"}, {\"text\": \"b",
       "[1]: not valid JSON, line 1: the file ends here, before the array's ']'"},
      {"open.json", "[{\"text\": \"a\"}\n", "[1]: not valid JSON, line 2: ',' or ']' is missing"},
      {"comma.json", "[{\"text\": \"a\"},\n]", "[1]: not valid JSON, line 2: no row"},
      {"between.json", "[{\"text\": \"a\"}\n{\"text\": \"b\"}]",
       "[1]: not valid JSON, line 2: ',' or ']' is missing behind the row before"},
      {"more.json", "[{\"text\": \"a\"}]\n{\"text\": \"b\"}",
       ": not valid JSON, line 2: the array's ']' is not the end"},
      {"string.json", "[{\"text\": \"a\n\"}]",
       "[0]: not valid JSON, line 2: no row, or a line ends"},
      {"lists.json", R"({"train": [{"text": "a"}], "n": 2, "test": [{"text": "b"}]})",
       ": an object with several lists of rows: 'train', 'test': write the one to train on"},
      {"pretty.json", "{\n  \"text\": \"a\"\n}\n{\n  \"text\": \"b\"\n}\n",
       ": its first object goes over 3 lines: write one object a line (jq -c . FILE), or an array"},
      {"masked.jsonl", "{\"input_ids\": [1, 2], \"labels\": [1, -100]}\n", ":1: key 'text' is mis"},
      {"utf16.jsonl", std::string("\xFF\xFE{\0}\0", 6), ": encoded as UTF-16: write it as UTF-8"},
      {"utf16be.jsonl", std::string("\0{\0}\0\n", 6), ": encoded as UTF-16"},
      {"utf16le.jsonl", std::string("{\0}\0\n\0", 6), ": encoded as UTF-16"},
      {"utf32.jsonl", std::string("\xFF\xFE\0\0{\0\0\0", 8), ": encoded as UTF-32"},
      {"rows.parquet", "PARE\x15\x04", ": an encrypted Parquet file: write it without"},
      {"rows.xlsx", "PK", ": a spreadsheet: write it as JSON Lines: pandas.read_excel"},
      {"rows.arrow", std::string("\xFF\xFF\xFF\xFF\x10\0", 6),
       ": an Arrow stream: write it as JSON"},
      {"rows.arrow", "ARROW1", ": an Arrow file"},
      {"rows.jsonl.zst", "\x28\xB5\x2F\xFD\x04", ": compressed with zstd: unpack it (zstd -d)"},
      {"rows.jsonl.xz",
       "\xFD"
       "7zXZ",
       ": compressed with xz"},
      {"rows.jsonl.bz2", "BZh91AY", ": compressed with bzip2"},
      {"rows.zip", "PK\x03\x04", ": a zip archive: unpack it"},
      {"lfs.jsonl", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n",
       " is a Git LFS pointer, not the file itself: run `git lfs pull` in "},
      {"page.json", "<!DOCTYPE html>", ": a web page: download the file itself"},
      {"cut.gz", packed.substr(0, packed.size() / 2), ": the gzip data is cut off: copy or"},
      {"cut2.gz", packed.substr(0, packed.size() - 3), ": the gzip data is cut off"},
      {"sum.gz", damaged, ": the gzip data is damaged (incorrect data check)"},
      {"flip.gz", flipped, ": the gzip data is damaged"},
      {"tail.gz", packed + "junk", ": the gzip data is damaged (incorrect header check)"},
  };
  for (const BadFile& bad : table) {
    const std::string message = ErrorText(Load(bad.name, bad.text, kText));
    EXPECT_EQ(message.rfind((folder_ / bad.name) + bad.message, 0), 0u) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
}

TEST_F(Files, WithNothingToLearnAreRefused) {
  EXPECT_THAT(
      ErrorText(Load("masked.jsonl", "{\"input_ids\": [1, 2], \"labels\": [1, -100]}\n", kTokens)),
      HasSubstr("masked.jsonl: none of its 1 rows has a token to learn: every label"));
}

}  // namespace
}  // namespace fttrain
