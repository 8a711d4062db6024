// A text in segments: the ids are those of the whole, a segment's tokens are those that begin in
// it, and tokens that cover characters of several segments are named.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <utility>
#include <vector>

#include "tests/data/golden.h"
#include "tests/status_text.h"

namespace fttrain {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Texts = std::vector<std::string>;

MATCHER_P3(Covers, index, first, last, "") {
  return arg.index == index && arg.first == first && arg.last == last;
}

// Every third place between characters, and both ends.
std::vector<size_t> Cuts(const std::string& text) {
  std::vector<size_t> cuts;
  int characters = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool begins = (static_cast<unsigned char>(text[i]) & 0xC0) != 0x80;
    if (begins && characters++ % 3 == 0) cuts.push_back(i);
  }
  cuts.push_back(text.size());
  return cuts;
}

class Cut : public testing::TestWithParam<const char*> {};

// Wherever it is cut; and, going on in the text, tokens pass from the second part to the first.
TEST_P(Cut, GivesTheIdsOfTheWhole) {
  const auto t = GoldenTokenizer(GetParam());
  for (const auto& json_text : GoldenJson("texts.json")) {
    const std::string text = json_text;
    const auto want = *t->Encode(text, false);
    int64_t before = 0;
    for (const size_t cut : Cuts(text)) {
      const auto got = t->EncodeSegments({text.substr(0, cut), text.substr(cut)}, false);
      ASSERT_TRUE(got.ok()) << got.status();
      EXPECT_EQ(got->ids, want);
      EXPECT_LE(before, got->ends[0]) << text << cut;
      before = got->ends[0];
      EXPECT_EQ(got->ends[1], static_cast<int64_t>(want.size()));
      for (const SharedToken& token : got->shared) {
        EXPECT_THAT(token, Covers(token.index, 0, 1));
        EXPECT_LT(token.index, got->ends[0]);
      }
    }
    EXPECT_EQ(before, static_cast<int64_t>(want.size()));
  }
}

INSTANTIATE_TEST_SUITE_P(Kinds, Cut,
                         testing::Values("gpt2", "smollm2", "llama3", "qwen2", "deepseek", "flags",
                                         "gemma", "llama2", "metaspace"),
                         [](const auto& kind) { return std::string(kind.param); });

// Byte-level tokens decode to just what they cover.
TEST(Segments, EndWhereTheTextOfTheirTokensEnds) {
  int exact = 0, shared = 0;
  for (const char* name : {"gpt2", "llama3", "deepseek"}) {
    const auto t = GoldenTokenizer(name);
    for (const auto& json_text : GoldenJson("texts.json")) {
      const std::string text = json_text;
      for (const size_t cut : Cuts(text)) {
        const SegmentedIds got =
            t->EncodeSegments({text.substr(0, cut), text.substr(cut)}, false).value();
        if (t->Decode(got.ids, false) != text) break;
        const auto decoded = [&](int64_t end) {
          return t->Decode({got.ids.data(), static_cast<size_t>(end)}, false);
        };
        if (got.shared.empty()) {
          EXPECT_EQ(decoded(got.ends[0]), text.substr(0, cut)) << name;
          ++exact;
          continue;
        }
        ASSERT_THAT(got.shared, ElementsAre(Covers(got.ends[0] - 1, 0, 1)));
        const std::string without = decoded(got.ends[0] - 1), with = decoded(got.ends[0]);
        if (without.find("\xEF\xBF\xBD") != std::string::npos) continue;  // inside a character
        EXPECT_LT(without.size(), cut) << name;
        EXPECT_GT(with.size(), cut) << name;
        ++shared;
      }
    }
  }
  EXPECT_GT(exact, 500);
  EXPECT_GT(shared, 500);
}

TEST(Segments, MayBeEmptyAndTakeTheTokensAroundTheText) {
  const auto t = GoldenTokenizer("llama3");
  const auto got = t->EncodeSegments({"", "the heron", " carried", "<|eot_id|>", ""}, true).value();
  Texts parts;
  int64_t begin = 0;
  for (const int64_t end : got.ends) {
    parts.push_back(t->Decode({got.ids.data() + begin, static_cast<size_t>(end - begin)}, false));
    begin = end;
  }
  EXPECT_THAT(parts, ElementsAre("<|begin_of_text|>", "the heron", " carried", "<|eot_id|>", ""));
  EXPECT_THAT(got.shared, IsEmpty());
}

TEST(Segments, ATokenOverABorderCountsToTheSegmentWhereItBegins) {
  const auto t = GoldenTokenizer("llama3");
  for (const auto& [left, right] : std::vector<std::pair<std::string, std::string>>{
           {" bro", "ther"}, {"<|eot", "_id|>"}, {" her", "on"}}) {
    const auto got = t->EncodeSegments({left, right}, true).value();
    EXPECT_THAT(got.ends, ElementsAre(2, 2)) << left;
    EXPECT_THAT(got.shared, ElementsAre(Covers(1, 0, 1))) << left;
  }
  const auto space = t->EncodeSegments({"the ", "lamps"}, false).value();
  EXPECT_THAT(space.shared, ElementsAre(Covers(1, 0, 1)));
  EXPECT_EQ(space.ends[0], 2);
}

TEST(Segments, ATokenMayCoverSeveral) {
  const auto t = GoldenTokenizer("llama3");
  const auto three = t->EncodeSegments({"the", " bro", "th", "er"}, false).value();
  EXPECT_THAT(three.ends, ElementsAre(1, 2, 2, 2));
  EXPECT_THAT(three.shared, ElementsAre(Covers(1, 1, 3)));
  const auto empty = t->EncodeSegments({"", " bro", "", "ther", ""}, false).value();
  EXPECT_THAT(empty.ends, ElementsAre(0, 1, 1, 1, 1));
  EXPECT_THAT(empty.shared, ElementsAre(Covers(0, 1, 3)));
  const auto special = t->EncodeSegments({"<|eot", "_id|><|eot_", "id|>"}, false).value();
  EXPECT_THAT(special.ends, ElementsAre(1, 2, 2));
  EXPECT_THAT(special.shared, ElementsAre(Covers(0, 0, 1), Covers(1, 1, 2)));
}

TEST(Segments, ASpaceThatASpecialTokenTakesIsAlsoItsBeginning) {
  const auto t = GoldenTokenizer("flags");
  const auto left = t->EncodeSegments({"a  ", "[left]"}, false).value();
  EXPECT_EQ(left.ids.back(), t->TokenToId("[left]"));
  EXPECT_EQ(left.ends[0], left.ends[1]);
  EXPECT_THAT(left.shared, ElementsAre(Covers(left.ends[0] - 1, 0, 1)));
}

TEST(Segments, AComposedCharacterBeginsWithItsFirst) {
  const auto t = GoldenTokenizer("qwen2");  // NFC
  const auto got = t->EncodeSegments({"9 cafe", "\xCC\x81!"}, false).value();
  EXPECT_EQ(got.ids, *t->Encode("9 caf\xC3\xA9!", false));
  EXPECT_THAT(got.shared, testing::Not(IsEmpty()));
  EXPECT_EQ(got.shared.back().index, got.ends[0] - 1);
  const std::vector<int32_t> first(got.ids.begin(), got.ids.begin() + got.ends[0]);
  EXPECT_THAT(t->Decode(first, false), testing::StartsWith("9 caf\xC3\xA9"));
  const auto behind = t->EncodeSegments({"9", "e\xCC\x81"}, false).value();
  EXPECT_THAT(behind.shared, IsEmpty());
  EXPECT_EQ(behind.ends[0], 1);
}

// 0 x, 1 b, 2 xb; "aa" is read as "x", "ab" as "xxx".
TEST(Segments, ANormalizerMayChangeLengths) {
  const auto replace = [](const char* what, const char* by) {
    return json{{"type", "Replace"}, {"pattern", {{"String", what}}}, {"content", by}};
  };
  const json spec = {
      {"model", {{"type", "BPE"}, {"vocab", {{"x", 0}, {"b", 1}, {"xb", 2}}}, {"merges", {"x b"}}}},
      {"normalizer",
       {{"type", "Sequence"}, {"normalizers", {replace("aa", "x"), replace("ab", "xxx")}}}}};
  const auto t = Tokenizer::FromJson(spec.dump(), "", "t").value();
  const auto ends = [&](const Texts& texts) { return t->EncodeSegments(texts, false)->ends; };
  const auto shared = [&](const Texts& texts) { return t->EncodeSegments(texts, false)->shared; };
  EXPECT_THAT(ends({"aa", "aa"}), ElementsAre(1, 2));
  EXPECT_THAT(shared({"aa", "aa"}), IsEmpty());
  EXPECT_THAT(ends({"aaa", "axx"}), ElementsAre(2, 4));
  EXPECT_THAT(shared({"aaa", "axx"}), ElementsAre(Covers(1, 0, 1)));
  EXPECT_THAT(ends({"a", "b", "b"}), ElementsAre(3, 3, 3));
  EXPECT_THAT(shared({"a", "b", "b"}),
              ElementsAre(Covers(0, 0, 1), Covers(1, 0, 1), Covers(2, 0, 2)));
  EXPECT_THAT(ends({"ab", "b"}), ElementsAre(3, 3));
  EXPECT_THAT(shared({"ab", "b"}), ElementsAre(Covers(2, 0, 1)));
}

TEST(Segments, EndBetweenCharacters) {
  const auto t = GoldenTokenizer("gpt2");
  EXPECT_THAT(ErrorText(t->EncodeSegments({"a", "\xC3", "\xA9"}, false)),
              HasSubstr("part 2 of the text ends inside a character"));
}

}  // namespace
}  // namespace fttrain
