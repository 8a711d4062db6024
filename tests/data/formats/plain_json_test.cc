// What is read in one pass is what the library reads, and nothing else is.
#include "data/formats/plain_json.h"

#include <gtest/gtest.h>

#include <random>

#include "data/text/unicode.h"

namespace fttrain {
namespace {

// Equal to the last type: 1 and 1u are equal to the library.
bool Same(const RowJson& a, const RowJson& b) {
  if (a.type() != b.type() || a.size() != b.size()) return false;
  if (!a.is_structured()) return a == b;
  for (auto left = a.begin(), right = b.begin(); left != a.end(); ++left, ++right) {
    if (a.is_object() && left.key() != right.key()) return false;
    if (!Same(*left, *right)) return false;
  }
  return true;
}

// Whether it was read; then as the library does.
bool Read(const std::string& text) {
  RowJson plain;
  if (!ReadPlainJson(text, &plain)) return false;
  const RowJson library = RowJson::parse(text, nullptr, /*allow_exceptions=*/false);
  EXPECT_FALSE(library.is_discarded()) << text;
  EXPECT_TRUE(Same(plain, library)) << text << "\n" << plain << "\n" << library;
  return true;
}

std::string Nested(int depth) {
  return std::string(static_cast<size_t>(depth), '[') +
         std::string(static_cast<size_t>(depth), ']');
}

const std::vector<std::string>& Rows() {
  static const std::vector<std::string> rows = {
      R"({"instruction":"1: Say\nthis.","input":"","output":"\"This\" \\ \/ \b\f\r\t."})",
      R"( { "messages" : [ { "role" : "user" , "content" : "Größe 高い 😀" } , {"role":"assistant"}]})"
      "\t\r\n",
      R"({"a":"\u0041\u00e9\u9ad8\ud83d\ude00\u0000","\u0062":null,"c":[true,false,{}],"d":[[]]})",
      R"([0,-0,-1,7,123456789012345678,-999999999999999999])",
      R"("a")",
      "true",
      "\x7f\"\x7f\"",
      Nested(64),
  };
  return rows;
}

TEST(PlainJson, IsReadAsTheLibraryReadsIt) {
  for (const std::string& row : Rows()) EXPECT_EQ(Read(row), row[0] != '\x7f') << row;
}

TEST(PlainJson, LeavesWhatItDoesNotKnow) {
  std::string keys = "{";
  for (int i = 0; i < 33; ++i) keys += (i > 0 ? ",\"" : "\"") + std::to_string(i) + "\":0";
  for (const std::string& row : {std::string(),
                                 std::string(" "),
                                 std::string("1.5"),
                                 std::string("1e3"),
                                 std::string("01"),
                                 std::string("-"),
                                 std::string("1 2"),
                                 std::string("{\"a\":1,\"a\":2}"),
                                 std::string("{\"a\":1,}"),
                                 std::string("[1,]"),
                                 std::string("{a:1}"),
                                 std::string("\"a"),
                                 std::string("\"\t\""),
                                 std::string("\"\\x\""),
                                 std::string("\"\\u12\""),
                                 std::string("\"\\ud800\""),
                                 std::string("\"\\udc00\""),
                                 std::string("\"\\ud800\\u0041\""),
                                 std::string("tru"),
                                 std::string("nulll"),
                                 std::string("1234567890123456789"),
                                 std::string("\xEF\xBB\xBF{}"),
                                 std::string("\"\\"),
                                 Nested(65),
                                 keys + "}"}) {
    EXPECT_FALSE(Read(row)) << row;
  }
}

TEST(PlainJson, OfRowsThatAreChangedAtRandomIsTheLibrarys) {
  const std::string bytes = "\"\\{}[]:,0123456789-+.eEtrufalsn /bx \t\r\n\x01\x7f";
  std::mt19937 random(5);
  const auto below = [&](size_t n) {
    return std::uniform_int_distribution<size_t>(0, n - 1)(random);
  };
  int read = 0;
  for (int i = 0; i < 20000; ++i) {
    std::string row = Rows()[below(Rows().size())];
    for (size_t changes = 1 + below(3); changes > 0 && !row.empty(); --changes) {
      const size_t at = below(row.size());
      const size_t how = below(3);
      if (how == 0) row.erase(at, 1 + below(4));
      if (how == 1) row.insert(at, 1, bytes[below(bytes.size())]);
      if (how == 2) row[at] = bytes[below(bytes.size())];
    }
    if (FindInvalidUtf8(row) == std::string::npos) read += Read(row) ? 1 : 0;
  }
  EXPECT_GT(read, 1000);
}

}  // namespace
}  // namespace fttrain
