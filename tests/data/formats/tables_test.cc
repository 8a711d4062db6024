// Tables as rows: what pandas, pyarrow and Python's csv wrote (tests/golden/make_tables_golden.py)
// becomes the examples of the same rows in JSON Lines, and damaged ones are told by file and line.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "tests/data/formats/rows.h"
#include "tests/status_text.h"

namespace fttrain {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Pair;
using enum RowFormat;

const std::string kTables = FTTRAIN_GOLDEN_DIR "/tables/";
const bool kParquetIsBuilt = std::filesystem::exists(FTTRAIN_PARQUET_MODULE);

std::string Bytes(const std::string& name) {
  std::ifstream file(kTables + name, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

class Tables : public RowsTest {
 protected:
  absl::StatusOr<Dataset> LoadGolden(const std::string& name) const {
    return LoadDataset({kTables + name}, options_);
  }
  void ExpectEqualRows(const std::string& name, const std::string& lines) const {
    const auto read = LoadGolden(name), want = LoadGolden(lines);
    ASSERT_TRUE(want.ok()) << want.status();
    ASSERT_TRUE(read.ok()) << name << ": " << read.status();
    EXPECT_EQ(read->report.format, want->report.format) << name;
    ASSERT_EQ(read->examples.size(), want->examples.size()) << name;
    for (size_t i = 0; i < want->examples.size(); ++i) {
      EXPECT_EQ(read->examples[i].input_ids, want->examples[i].input_ids) << name << " row " << i;
      EXPECT_EQ(read->examples[i].labels, want->examples[i].labels) << name << " row " << i;
    }
  }
  std::string CsvError(const std::string& text) const {
    const std::string message = ErrorText(Load("t.csv", text, kAuto));
    EXPECT_EQ(message.rfind(folder_ / "t.csv", 0), 0u) << message;
    return message.substr((folder_ / "t.csv").size());
  }
};

TEST_F(Tables, OfSeparatedValuesAreTheRowsOfTheJsonLines) {
  for (const char* name : {"alpaca.pandas.csv", "alpaca.index.csv", "alpaca.quoted.csv",
                           "alpaca.pandas.tsv", "alpaca.packed.csv.gz"}) {
    ExpectEqualRows(name, "alpaca.jsonl");
  }
  ExpectEqualRows("talks.text.csv", "talks.jsonl");
  ExpectEqualRows("tokens.text.csv", "tokens.jsonl");
}

TEST_F(Tables, OfParquetAreTheRowsOfTheJsonLines) {
  if (!kParquetIsBuilt) {
    EXPECT_THAT(
        ErrorText(LoadGolden("alpaca.parquet")),
        AllOf(HasSubstr("alpaca.parquet: a Parquet file: "), HasSubstr("FTTRAIN_PARQUET=ON")));
    return;
  }
  for (const char* name : {"alpaca.parquet", "alpaca.pandas.parquet", "alpaca.large.parquet",
                           "alpaca.dictionary.parquet", "alpaca.nulls.parquet"}) {
    ExpectEqualRows(name, "alpaca.jsonl");
  }
  for (const char* name : {"talks.parquet", "talks.large.parquet", "talks.text.parquet"}) {
    ExpectEqualRows(name, "talks.jsonl");
  }
  ExpectEqualRows("tokens.parquet", "tokens.jsonl");
}

TEST_F(Tables, HaveRowsWithPlacesAndColumnsThatAreNotUsed) {
  const auto table = LoadGolden("alpaca.index.csv");
  ASSERT_TRUE(table.ok()) << table.status();
  EXPECT_THAT(table->report.unused, ElementsAre(Pair("", 5)));
  EXPECT_EQ(table->examples[1].source, kTables + "alpaca.index.csv:3");
  EXPECT_EQ(table->examples[2].source, kTables + "alpaca.index.csv:6") << "behind two line ends";
  if (!kParquetIsBuilt) return;
  const auto parquet = LoadGolden("talks.parquet");
  ASSERT_TRUE(parquet.ok()) << parquet.status();
  EXPECT_EQ(parquet->examples[1].source, kTables + "talks.parquet[1]");
  EXPECT_THAT(parquet->report.unused, ElementsAre(Pair("n", 1)));
  EXPECT_EQ(CountRows({kTables + "alpaca.nulls.parquet"}, options_).value(), 5);
}

TEST_F(Tables, OfSeparatedValuesEndLinesAndFieldsAsRfc4180Says) {
  const auto texts = [&](const std::string& text) {
    std::vector<std::string> out;
    const auto read = Load("t.csv", text, kText);
    EXPECT_TRUE(read.ok()) << read.status();
    for (size_t i = 0; read.ok() && i < read->examples.size(); ++i) {
      std::string decoded = Text(read->examples[i]);
      out.push_back(decoded.substr(0, decoded.find("<|endoftext|>")));
    }
    return out;
  };
  EXPECT_THAT(texts("text\na\nb"), ElementsAre("a", "b"));
  EXPECT_THAT(texts("\xEF\xBB\xBFtext,n\r\na,1\r\n\r\nb,2\r\n"), ElementsAre("a", "b"));
  EXPECT_THAT(texts("n,text\n1,\"a,\r\n\"\"b\"\"\"\n2,\" c\"\n"), ElementsAre("a,\r\n\"b\"", " c"));
  EXPECT_THAT(texts("\"text\"\n\"a\"\"\"\n\"\"\"\""), ElementsAre("a\"", "\""));
}

TEST_F(Tables, ThatAreLargeAreReadInBlocks) {
  std::string text = "text,filler\n";
  for (int i = 0; i < 3000; ++i) {
    text += "a,\"" + std::string(500, 'x') + "\"\"\n" + std::string(500, 'y') + "\"\n";
  }
  for (const std::string& bytes : {text, Gzip(text)}) {
    const auto read = Load("t.csv", bytes, kText);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(read->examples.size(), 3000u);
    EXPECT_EQ(read->examples[2999].source, folder_ / "t.csv:6000");
  }
}

TEST_F(Tables, OfSeparatedValuesThatAreDamagedAreToldByLine) {
  EXPECT_EQ(CsvError(""), ": there are no rows");
  EXPECT_EQ(CsvError("text\n"), ": there are no rows");
  EXPECT_THAT(CsvError("text,n\na,1\nb\nc,2,3\n"),
              HasSubstr(":3: 1 field, but the header names 2: a separator or a line end in a text "
                        "must be quoted\n"));
  EXPECT_THAT(CsvError("text,n\na,1\n\"b\nc\nd,2\n"),
              HasSubstr(":3: the quote that opens here is not closed: the file ends inside it"));
  EXPECT_THAT(CsvError("text,n\n\"a\nb\"x,1\n"), HasSubstr(":3: text behind a closing quote"));
  EXPECT_THAT(CsvError("text,n\na 5\" disk,1\n"),
              HasSubstr(":2: a quote inside a field that does not begin with one"));
  EXPECT_THAT(CsvError("text\nb\xFF\n"), HasSubstr(":2: column 'text' is not UTF-8: save"));
  EXPECT_THAT(CsvError("text,text\na,b\n"), HasSubstr(":1: two columns are called 'text'"));
  EXPECT_THAT(
      CsvError("text;n\na;1\n"),
      HasSubstr(":1: the header has one column, 'text;n': columns are separated by commas"));
  EXPECT_THAT(CsvError("text\rn\r"), HasSubstr(":1: a CR that no LF follows"));
  EXPECT_THAT(CsvError("messages\n\"[{'role': 'user'}]\"\n"),
              HasSubstr(":2: the text of 'messages': not valid JSON at byte"));
  options_.max_row_bytes = 64;
  EXPECT_EQ(CsvError("text,n\na,1\n\"" + std::string(200000, 'b') + "\",1\nc,1\n"),
            ":3: the row is longer than 64 bytes: split it");
}

TEST_F(Tables, OfParquetThatAreDamagedAreOneError) {
  if (!kParquetIsBuilt) return;  // the refusal is above
  const std::string whole = Bytes("alpaca.nulls.parquet");
  ASSERT_GT(whole.size(), 1000u);
  const auto error = [&](const std::string& bytes) {
    const std::string message = ErrorText(Load("t.parquet", bytes, kAlpaca));
    EXPECT_EQ(message.rfind(folder_ / "t.parquet", 0), 0u) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    return message;
  };
  EXPECT_THAT(error(whole.substr(0, whole.size() / 2)), HasSubstr("the Parquet file is damaged: "));
  EXPECT_THAT(error("PAR1"), HasSubstr("the Parquet file is damaged: "));
  std::string holes = whole;
  std::fill(holes.begin() + 4, holes.begin() + 400, '\0');
  EXPECT_THAT(error(holes), HasSubstr("the Parquet file is damaged: "));
  EXPECT_THAT(error(Gzip(whole)), HasSubstr("a Parquet file in a gzip file: unpack it"));
  EXPECT_THAT(error("text,n"), HasSubstr("called a Parquet file, but does not begin as one"));
  EXPECT_THAT(ErrorText(LoadGolden("empty.parquet")), HasSubstr("there are no rows"));
  EXPECT_THAT(ErrorText(LoadDataset({kTables + "dates.parquet", kText}, options_)),
              HasSubstr("dates.parquet[0]: 'text' must be a string, not object"));
}

// Whatever byte is another, there is an error or there are rows; nothing ends the process.
TEST_F(Tables, OfParquetMayHaveAnyByteChanged) {
  if (!kParquetIsBuilt) return;
  const std::string whole = Bytes("talks.parquet");
  int refused = 0;
  for (size_t i = 4; i < whole.size(); i += 3) {
    std::string bytes = whole;
    bytes[i] = static_cast<char>(bytes[i] ^ 0x5A);
    refused += !Load("t.parquet", bytes, kMessages).ok();
  }
  EXPECT_GT(refused, 100);
}

}  // namespace
}  // namespace fttrain
