// Files that must be refused, each with a message that says what is wrong, and odd ones that must
// not.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "runtime/files/safetensors.h"
#include "tests/runtime/files/safetensors_bytes.h"
#include "tests/temp_folder.h"

namespace fttrain {
namespace {

using ::testing::HasSubstr;

struct Case {
  std::string name;
  std::string bytes;
  std::string complaint;  // part of the error
};

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

std::string CaseName(const testing::TestParamInfo<Case>& info) { return info.param.name; }

// A file of one 8-byte tensor "w", with shape and offsets as given.
std::string OneTensor(std::string_view shape, std::string_view offsets,
                      std::string_view dtype = "F32") {
  return FileBytes("{" + Item("w", dtype, shape, offsets) + "}", "12345678");
}

std::string Repeated(std::string_view text, int count) {
  std::string all;
  for (int i = 0; i < count; ++i) all += text;
  return all;
}

const std::string kGood = Item("w", "F32", "[2]", "[0,8]");

std::vector<Case> LengthCases() {
  return {
      {"Empty", "", "0 bytes are too few"},
      {"SevenBytes", "1234567", "7 bytes are too few"},
      {"HeaderLengthZero", LittleEndian(0), "does not begin with '{'"},
      {"HeaderLongerThanFile", LittleEndian(100) + "{}", "header length 100 exceeds the 2 bytes"},
      {"HeaderLengthTwoTo63", LittleEndian(uint64_t{1} << 63) + "{}",
       "9223372036854775808 exceeds"},
      {"HeaderLengthAllOnes", LittleEndian(~uint64_t{0}) + "{}", "18446744073709551615 exceeds"},
      {"HeaderOf100MbInASmallFile", LittleEndian(100'000'000) + "{}", "header length 100000000"},
      {"TruncatedInHeader", FileBytes("{" + kGood + "}", "12345678").substr(0, 20), "truncated"},
      {"TruncatedInData", FileBytes("{" + kGood + "}", "12345"),
       "ends past the file's 5 data bytes"},
      {"TrailingData", FileBytes("{" + kGood + "}", "123456789"), "1 trailing bytes"},
      {"DataWithoutTensors", FileBytes("{}", "1"), "1 trailing bytes"},
  };
}

std::vector<Case> JsonCases() {
  return {
      {"NotUtf8", FileBytes("{\"w\xff\":1}"), "UTF-8"},
      {"NotJson", FileBytes("{w:1}"), "parse error at line 1, column 2"},
      {"NotAnObject", FileBytes("[]"), "does not begin with '{'"},
      {"LeadingSpace", FileBytes(" {}"), "does not begin with '{'"},
      {"ByteOrderMark", FileBytes("\xef\xbb\xbf{}"), "does not begin with '{'"},
      {"JunkAfterTheObject", FileBytes("{" + kGood + "}x", "12345678"), "parse error"},
      {"SecondObject", FileBytes("{" + kGood + "}{}", "12345678"), "parse error"},
      {"UnclosedObject", FileBytes("{" + kGood, "12345678"), "parse error"},
      {"NulAfterTheObject", FileBytes("{" + kGood + "}" + std::string(2, '\0'), "12345678"), "NUL"},
      {"NulInName", FileBytes(R"({"a\u0000b":1})"), "holds a NUL"},
      {"LongName", FileBytes("{\"" + std::string(1 << 20, 'x') + "\":1}"),
       "longer than 4096 bytes"},
      {"DeepNesting", FileBytes("{\"w\":" + Repeated("[", 100000)), "nested deeper than 32"},
      {"DeepObjects", FileBytes(Repeated("{\"w\":", 100000)), "nested deeper than 32"},
      {"TensorIsANumber", FileBytes(R"({"w":1})"), "tensor 'w': an object is needed"},
      {"TensorIsNull", FileBytes(R"({"w":null})"), "an object is needed"},
      {"DuplicateTensor", FileBytes("{" + kGood + "," + kGood + "}", "12345678"),
       "key 'w' appears twice"},
      {"DuplicateField", FileBytes(R"({"w":{"dtype":"F32","dtype":"F32"}})"),
       "key 'dtype' appears twice"},
      {"UnknownField",
       FileBytes(R"({"w":{"dtype":"F32","shape":[],"data_offsets":[0,4],"strides":[1]}})", "1234"),
       "nothing else"},
      {"MissingDtype", FileBytes(R"({"w":{"shape":[],"data_offsets":[0,0]}})"),
       "tensor 'w'.dtype: a string is needed"},
      {"MissingShape", FileBytes(R"({"w":{"dtype":"F32","data_offsets":[0,0]}})"),
       "tensor 'w'.shape: an array is needed"},
      {"MissingOffsets", FileBytes(R"({"w":{"dtype":"F32","shape":[]}})"),
       "data_offsets: an array is needed"},
      {"MetadataIsAnArray", FileBytes(R"({"__metadata__":[]})"), "an object is needed"},
      {"MetadataValueIsANumber", FileBytes(R"({"__metadata__":{"a":1}})"), "__metadata__"},
      {"MetadataTwice", FileBytes(R"({"__metadata__":{},"__metadata__":{}})"),
       "key '__metadata__' appears twice"},
      {"MetadataKeyTwice", FileBytes(R"({"__metadata__":{"a":"","a":""}})"),
       "key 'a' appears twice"},
      {"ControlCharactersAreEscaped", FileBytes("{\"\\u001b[2J\":1}"), "x1b[2J"},
  };
}

std::vector<Case> TensorCases() {
  const std::string hole = Item("a", "U8", "[1]", "[0,1]") + "," + Item("b", "U8", "[1]", "[2,3]");
  const std::string overlap =
      Item("a", "U8", "[2]", "[0,2]") + "," + Item("b", "U8", "[2]", "[1,3]");
  const std::string same = Item("a", "U8", "[2]", "[0,2]") + "," + Item("b", "U8", "[2]", "[0,2]");
  return {
      {"OffsetNegative", OneTensor("[2]", "[-1,7]"),
       "tensor 'w'.data_offsets[0]: -1 is not in [0, "},
      {"OffsetFloat", OneTensor("[2]", "[0.0,8]"), "an integer is needed"},
      {"OffsetExponent", OneTensor("[2]", "[0,8e0]"), "an integer is needed"},
      {"OffsetTwoTo63", OneTensor("[2]", "[0,9223372036854775808]"),
       "data_offsets[1]: 9223372036854775807 is not in [0, "},
      {"OffsetTwoTo65", OneTensor("[2]", "[0,36893488147419103232]"), "an integer is needed"},
      {"OffsetText", OneTensor("[2]", "[0,\"8\"]"), "an integer is needed"},
      {"OffsetNested", OneTensor("[2]", "[0,[8]]"), "an integer is needed"},
      {"OffsetsReversed", OneTensor("[2]", "[8,0]"), "data_offsets [8, 0]"},
      {"OffsetsOfOneNumber", OneTensor("[2]", "[8]"), "two data_offsets"},
      {"OffsetsOfThreeNumbers", OneTensor("[2]", "[0,4,8]"), "more than 2 numbers"},
      {"OffsetsPastTheEnd", OneTensor("[4]", "[0,16]"), "ends past the file's 8 data bytes"},
      {"OffsetsFarPastTheEnd", OneTensor("[2]", "[9223372036854775798,9223372036854775806]"),
       "ends past"},
      {"SizeIsNotTheOffsets", OneTensor("[3]", "[0,8]"), "F32 [3] needs 12 bytes"},
      {"OffsetMinusZero", OneTensor("[2]", "[-0,8]"), "data_offsets[0]: an integer is needed"},
      {"DimensionMinusZero", FileBytes("{" + Item("w", "U8", "[3,-0]", "[0,0]") + "}"),
       "tensor 'w'.shape[1]: an integer is needed"},
      {"DimensionNegative", OneTensor("[-1]", "[0,8]"), "tensor 'w'.shape[0]: -1 is not in [0, "},
      {"DimensionFloat", OneTensor("[2.0]", "[0,8]"), "shape[0]: an integer is needed"},
      {"ShapeOverflows", OneTensor("[4294967296,4294967296]", "[0,8]"), "exceeds 2^63 bytes"},
      {"ShapeOverflowsToTheRightSize", OneTensor("[4611686018427387905,2]", "[0,8]"), "exceeds"},
      {"ShapeOverflowsBesideAZero", OneTensor("[0,9223372036854775806,9]", "[0,0]"), "exceeds"},
      {"RankNine", OneTensor("[1,1,1,1,1,1,1,1,2]", "[0,8]"), "more than 8 numbers"},
      {"ShapeIsANumber", OneTensor("2", "[0,8]"), "an array is needed"},
      {"DtypeUnknown", OneTensor("[2]", "[0,8]", "F8_E4M3"), "dtype: 'F8_E4M3' is not supported"},
      {"DtypeLowerCase", OneTensor("[2]", "[0,8]", "f32"), "dtype: 'f32' is not supported"},
      {"DtypeIsANumber", FileBytes(R"({"w":{"dtype":4}})"), "a string is needed"},
      {"Hole", FileBytes("{" + hole + "}", "123"),
       "'b', data_offsets [2, 3]: leaves a hole of 1 bytes"},
      {"HoleAtTheStart", FileBytes("{" + Item("a", "U8", "[1]", "[1,2]") + "}", "12"), "hole of 1"},
      {"Overlap", FileBytes("{" + overlap + "}", "123"), "'b', data_offsets [1, 3]: overlaps"},
      {"SameBytesTwice", FileBytes("{" + same + "}", "12"), "overlaps a tensor ending at 2"},
  };
}

class HostileFile : public testing::TestWithParam<Case> {};

TEST_P(HostileFile, IsRefusedWithTheReason) {
  const TempFolder folder;
  const std::string path = folder.Write("x.safetensors", GetParam().bytes);
  const auto file = SafetensorsFile::Open(path);
  ASSERT_FALSE(file.ok());
  EXPECT_EQ(file.status().code(), absl::StatusCode::kInvalidArgument);
  const std::string message(file.status().message());
  EXPECT_THAT(message, HasSubstr(path + ": "));
  EXPECT_THAT(message, HasSubstr(GetParam().complaint));
  EXPECT_LT(message.size(), path.size() + 700);
  EXPECT_EQ(message.find_first_of("\n\x1b"), std::string::npos) << "one clean line: " << message;
}

INSTANTIATE_TEST_SUITE_P(Length, HostileFile, testing::ValuesIn(LengthCases()), CaseName);
INSTANTIATE_TEST_SUITE_P(Json, HostileFile, testing::ValuesIn(JsonCases()), CaseName);
INSTANTIATE_TEST_SUITE_P(Tensor, HostileFile, testing::ValuesIn(TensorCases()), CaseName);

TEST(HostileFile, WithAMillionTensorsIsRefused) {
  std::string header = "{";
  for (int i = 0; i < 300'000; ++i) {
    header += Item("t" + std::to_string(i), "U8", "[0]", "[0,0]") + (i < 299'999 ? "," : "}");
  }
  const TempFolder folder;
  const auto file = SafetensorsFile::Open(folder.Write("x.safetensors", FileBytes(header)));
  ASSERT_FALSE(file.ok());
  EXPECT_THAT(std::string(file.status().message()), HasSubstr("more than 250000 tensors"));
}

// Whatever a damaged header says, what is accepted lies inside the file.
TEST(HostileFile, WithOneByteChangedIsRefusedOrStaysInsideTheFile) {
  const std::string good = FileBytes("{" + kGood + "," + Item("v", "BF16", "[1,2]", "[8,12]") +
                                         R"(,"__metadata__":{"format":"pt"}})",
                                     "123456789012");
  const TempFolder folder;
  int refused = 0;
  for (size_t at = 0; at + 12 < good.size(); ++at) {
    for (const char byte : {'0', '"', '}', '\xff'}) {
      std::string bytes = good;
      bytes[at] = byte;
      const auto file = SafetensorsFile::Open(folder.Write("x.safetensors", bytes));
      refused += !file.ok();
      if (!file.ok()) continue;
      for (const auto& [name, entry] : (*file)->entries()) {
        std::string data(entry.size_bytes, '\0');
        EXPECT_TRUE((*file)->ReadBytes(name, 0, entry.size_bytes, data.data()).ok()) << bytes;
      }
    }
  }
  EXPECT_GT(refused, 400);
}

std::vector<Case> OddButRightCases() {
  const std::string swapped =
      Item("b", "U8", "[1]", "[1,2]") + "," + Item("a", "U8", "[1]", "[0,1]");
  const std::string empty = Item("e", "F32", "[0,3]", "[8,8]") + "," + kGood;
  return {
      {"NoTensors", FileBytes("{}"), ""},
      {"PaddedHeader", FileBytes("{" + kGood + "}      ", "12345678"), ""},
      {"PaddedWithBlanksOfJson", FileBytes("{" + kGood + "}\n\t\r ", "12345678"), ""},
      {"Scalar", FileBytes("{" + Item("w", "F64", "[]", "[0,8]") + "}", "12345678"), ""},
      {"NotInFileOrder", FileBytes("{" + swapped + "}", "12"), ""},
      {"EmptyTensor", FileBytes("{" + empty + "}", "12345678"), ""},
      {"RankEight", OneTensor("[1,1,1,1,1,1,1,2]", "[0,8]"), ""},
      {"MetadataLast", FileBytes("{" + kGood + R"(,"__metadata__":{"a":"b"}})", "12345678"), ""},
      {"UnicodeName", FileBytes("{" + Item("\xc3\xa4\\u00e4", "U8", "[0]", "[0,0]") + "}"), ""},
  };
}

class OddFile : public testing::TestWithParam<Case> {};

TEST_P(OddFile, IsAccepted) {
  const TempFolder folder;
  const auto file = SafetensorsFile::Open(folder.Write("x.safetensors", GetParam().bytes));
  EXPECT_TRUE(file.ok()) << file.status();
}

INSTANTIATE_TEST_SUITE_P(Safetensors, OddFile, testing::ValuesIn(OddButRightCases()), CaseName);

}  // namespace
}  // namespace fttrain
